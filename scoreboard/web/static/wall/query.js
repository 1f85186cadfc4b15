/** The parameters in the address of the wall. */

const MAX_BOARDS = 20;
const MIN_SECONDS = 5;
const MAX_SECONDS = 3600;
const SECONDS = 20;

/**
 * Read the parameters. A bad one is replaced by its default and described for the organiser.
 *
 * @param {string} search the query of the address
 * @returns {{boards: string[], seconds: number, problems: string[]}} the ids of the boards to show,
 *   and for how long each
 */
export function readQuery(search) {
  const parameters = new URLSearchParams(search);
  /** @type {string[]} */
  const problems = [];
  return {
    boards: boardsOf(parameters, problems),
    seconds: secondsOf(parameters.get("seconds"), problems),
    problems,
  };
}

/**
 * @param {URLSearchParams} parameters
 * @param {string[]} problems
 */
function boardsOf(parameters, problems) {
  const listed = (parameters.get("boards") ?? "").split(",").map((id) => id.trim());
  const boards = [...new Set(listed.filter(Boolean))];
  if (boards.length > MAX_BOARDS) {
    problems.push(`Only the first ${MAX_BOARDS} boards of the address are shown.`);
  }
  return boards.length ? boards.slice(0, MAX_BOARDS) : [parameters.get("board") || "main"];
}

/**
 * @param {string | null} text
 * @param {string[]} problems
 */
function secondsOf(text, problems) {
  if (text === null || text === "") {
    return SECONDS;
  }
  const seconds = Number(text);
  if (Number.isInteger(seconds) && seconds >= MIN_SECONDS && seconds <= MAX_SECONDS) {
    return seconds;
  }
  const range = `from ${MIN_SECONDS} to ${MAX_SECONDS}`;
  problems.push(`“seconds” must be a whole number ${range}: ${SECONDS} is used.`);
  return SECONDS;
}
