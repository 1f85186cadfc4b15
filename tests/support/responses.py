"""Read responses of the test client."""


def status_and_code(response):
    """Return the status and the error code, None without an error."""
    return response.status_code, (response.json or {}).get("error", {}).get("code")
