export { ScoreboardError } from "./errors.js";
export { connect } from "./scoreboard.js";
export { signIn } from "./session.js";
