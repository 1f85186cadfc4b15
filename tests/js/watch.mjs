// Connects as a website would and tells on standard output what happens, one JSON line each.
// usage: node watch.mjs URL TOKEN|- TRANSPORT[,TRANSPORT] [UPDATE]
// With an UPDATE (JSON) it is submitted once connected, and the acknowledgement told.
import { io } from "socket.io-client";

const [url, token, transports, update] = process.argv.slice(2);
const tell = (what, value) => process.stdout.write(JSON.stringify([what, value]) + "\n");

const options = { path: "/ws/scoreboard", reconnection: false, transports: transports.split(",") };
if (token !== "-") options.auth = { token };
const socket = io(url, options);

socket.io.on("open", () => {
  tell("open", socket.io.engine.transport.name);
  socket.io.engine.on("upgrade", (transport) => tell("upgrade", transport.name));
});
socket.on("connect", () => {
  if (update) socket.emit("update_score", JSON.parse(update), (answer) => tell("ack", answer));
});
socket.on("connect_error", (error) => {
  tell("connect_error", error.data ?? error.message);
  process.exit(0);
});
socket.on("disconnect", (reason) => {
  tell("disconnect", reason);
  process.exit(0);
});
socket.onAny((event, ...args) => tell(event, args.length === 1 ? args[0] : args));
