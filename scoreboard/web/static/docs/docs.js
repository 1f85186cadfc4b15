// Shows the OpenAPI document of this server in Swagger UI.

// Return the request with the examples of the document.
const exampleRequest = (Im, path, method, operation) => {
  const example = (name) =>
    operation.get("parameters").find((each) => each.get("name") === name)
      .getIn(["schema", "examples", 0]);
  const body = operation.getIn(["requestBody", "content", "application/json", "example"]);
  return Im.fromJS({
    url: location.origin + path.replace(/{(\w+)}/g, (_, name) => example(name)),
    method: method.toUpperCase(),
    headers: {
      ...(operation.get("security")?.size ? { Authorization: "Bearer TOKEN" } : {}),
      ...(body ? { "Content-Type": "application/json" } : {}),
    },
    body: body && JSON.stringify(body),
  });
};

// Swagger UI shows a curl command only after a request: also show one for the example.
const curlExamples = () => ({
  wrapComponents: {
    parameters: (Parameters, { React, Im, getComponent }) => (props) => {
      const parameters = React.createElement(Parameters, props);
      if (props.tryItOutEnabled) return parameters;
      const request = exampleRequest(Im, ...props.pathMethod, props.operation);
      const curl = React.createElement(getComponent("curl"), { request, getComponent });
      const example = React.createElement("div", { className: "curl-example" }, curl);
      return React.createElement(React.Fragment, null, parameters, example);
    },
  },
});

// Swagger UI has a dark style, which the page must choose.
const dark = matchMedia("(prefers-color-scheme: dark)");
const chooseStyle = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", chooseStyle);
chooseStyle();

SwaggerUIBundle({
  dom_id: "#endpoints",
  url: "/api/openapi.json",
  deepLinking: true,
  filter: true,
  showExtensions: true, // the roles of an operation
  defaultModelsExpandDepth: 0,
  validatorUrl: null, // sends nothing to another host
  plugins: [curlExamples],
});
