/** What the forms of the page have in common. */

/**
 * @param {HTMLElement} section
 * @returns {Record<string, any>} its elements with data-part, by that name
 */
export function partsOf(section) {
  const parts = section.querySelectorAll("[data-part]");
  return Object.fromEntries([...parts].map((part) => [part.dataset.part, part]));
}

/**
 * Run `act` when the form is submitted, and show the message of its error.
 *
 * @param {HTMLFormElement | undefined} form
 * @param {() => Promise<void>} act
 * @param {HTMLElement} problem
 */
export function onSubmit(form, act, problem) {
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    problem.textContent = "";
    try {
      await act();
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
}

/**
 * @param {HTMLFormElement} form
 * @returns {Record<string, any>} the texts of its enabled fields, and whether its box is checked
 */
export function valuesOf(form) {
  const inputs = [...form.querySelectorAll("input:enabled")];
  return Object.fromEntries(
    inputs.map(({ name, type, value, checked }) => [name, type === "checkbox" ? checked : value]),
  );
}
