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
 * Returns the error as one of ours; without a code, the server could not be reached.
 * @param {any} error
 */
export function asScoreboardError(error) {
  if (error instanceof ScoreboardError) return error;
  const { code, status, message = String(error) } = error ?? {};
  // The code of a DOMException, as of a timeout, is a number of its own.
  const ours = typeof code === "string" ? code : "unreachable";
  return new ScoreboardError({ code: ours, status, message }, { cause: error });
}
