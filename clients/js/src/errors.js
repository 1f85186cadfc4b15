/** @import * as api from "./index.js" */

export class ScoreboardError extends Error {
  /**
   * @param {api.ErrorDetail} detail
   * @param {{cause?: unknown}} [options]
   */
  constructor({ code, message, status, fields, update }, options) {
    super(message, options);
    this.name = "ScoreboardError";
    this.code = code;
    this.status = status;
    this.fields = fields;
    this.update = update;
  }
}

/**
 * Converts any error to a ScoreboardError. Its code is `unreachable` if the error has none.
 * @param {any} error
 */
export function asScoreboardError(error) {
  if (error instanceof ScoreboardError) return error;
  const { code, status, message = String(error) } = error ?? {};
  // The code of a DOMException, for example of a timeout, is a number.
  const name = typeof code === "string" ? code : "unreachable";
  return new ScoreboardError({ code: name, status, message }, { cause: error });
}
