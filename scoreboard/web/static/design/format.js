/** Numbers, times and places as people read them, for all pages. */

const numbers = new Intl.NumberFormat(undefined, { maximumFractionDigits: 3 });
const ordinals = new Intl.PluralRules("en", { type: "ordinal" });
const SUFFIXES = { one: "st", two: "nd", few: "rd", other: "th" };
const MAX_LENGTH_OF_SHORT = 8;

/**
 * @param {number} score
 * @param {"number" | "time"} [format] of the board
 * @returns {string} the number, grouped and with at most 3 decimals, or milliseconds as 1:23.456
 */
export function scoreText(score, format = "number") {
  return format === "time" ? timeText(Math.round(score)) : numberText(score);
}

/**
 * @param {number} number
 * @returns {string} grouped and with at most 3 decimals
 */
export function numberText(number) {
  return numbers.format(Math.abs(number) < 0.0005 ? 0 : number); // never "-0"
}

/** @param {number} milliseconds */
function timeText(milliseconds) {
  const left = Math.abs(milliseconds);
  const hours = Math.floor(left / 3_600_000);
  const minutes = String(Math.floor(left / 60_000) % 60).padStart(hours ? 2 : 1, "0");
  const seconds = ((left % 60_000) / 1000).toFixed(3).padStart(6, "0");
  return `${milliseconds < 0 ? "−" : ""}${hours ? `${hours}:` : ""}${minutes}:${seconds}`;
}

/**
 * Read a time as people write it: 83.456 (seconds), 1:23.456 or 1:02:03.004.
 *
 * @param {string} text
 * @returns {number} milliseconds, NaN if it is not a time
 */
export function parseTime(text) {
  const found = /^(?:(?:(\d+):)?(\d+):)?(\d+)(?:[.,](\d{1,3}))?$/.exec(text.trim());
  if (!found) {
    return NaN;
  }
  const [hours, minutes, seconds] = found.slice(1, 4).map((part) => Number(part ?? 0));
  const thousandths = Number((found[4] ?? "").padEnd(3, "0"));
  return ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths;
}

/**
 * @param {number} place
 * @returns {string} for example "3rd"
 */
export function ordinal(place) {
  return `${numbers.format(place)}${SUFFIXES[ordinals.select(place)]}`;
}

/**
 * @param {number} count
 * @param {string} singular
 * @param {string} [plural]
 * @returns {string} for example "1 player" or "1,200 players"
 */
export function countText(count, singular, plural = `${singular}s`) {
  return `${numbers.format(count)} ${count === 1 ? singular : plural}`;
}

/**
 * @param {number} moment a time like Date.now
 * @param {number} now
 * @returns {string} for example "now", "40 s", "5 min", "3 h" or "2 d"
 */
export function agoText(moment, now) {
  const seconds = Math.max(0, (now - moment) / 1000);
  if (seconds < 10) {
    return "now";
  }
  const units = [
    [60, 1, "s"],
    [3600, 60, "min"],
    [86_400, 3600, "h"],
    [Infinity, 86_400, "d"],
  ];
  const [, length, unit] = units.find(([end]) => seconds < end);
  return `${Math.floor(seconds / length)} ${unit}`;
}

/**
 * Compare a score with that of the leader.
 *
 * @param {number} score
 * @param {number} leader the first score of the list
 * @param {number} last the last score of the list
 * @returns {number} from 0 to 1, the leader's: the share of a bar that shows the gap
 */
export function shareOf(score, leader, last) {
  if (score === leader) {
    return 1;
  }
  const isAscending = last > leader;
  if (!isAscending && leader > 0 && last >= 0) {
    return score / leader;
  }
  if (isAscending && leader > 0) {
    return leader / score;
  }
  // With scores below zero only their distances can be compared.
  return 0.1 + 0.9 * ((score - last) / (leader - last));
}

/**
 * @param {string} text
 * @returns {"short" | "medium" | "long"} for a smaller type of long numbers
 */
export function lengthOf(text) {
  if (text.length <= MAX_LENGTH_OF_SHORT) {
    return "short";
  }
  return text.length <= 1.5 * MAX_LENGTH_OF_SHORT ? "medium" : "long";
}
