class_name ScoreboardClient
extends Node
## A client of the scoreboard in one file, for Godot 4. License: MIT.
##
## Copy it into the project, and add it as an autoload or as a node that stays in the tree. It needs
## no addons, and works while the game is paused. The functions do not block: await their result. A
## result is the server's response, or has the key [code]error[/code]: a dictionary with a stable
## [code]code[/code], a [code]message[/code] for people and the HTTP [code]status[/code], 0 if there
## was no response.

## The current top 10 first, then every changed one. Each entry has [code]user_id[/code],
## [code]username[/code], [code]score[/code] and [code]rank[/code].
signal top_10_changed(entries: Array)
## Every accepted update, also of players who are not in the top 10. It has [code]user_id[/code],
## [code]username[/code] and [code]new_score[/code].
signal score_changed(change: Dictionary)
## Whether the client is connected and watches the board.
signal live_changed(is_live: bool)
## The new refresh token, after each sign-in and renewal. Store it and pass it to [method resume] at
## the next start: for a guest it is the only key to the account.
signal refresh_token_changed(token: String)

signal _processed  # gdlint:ignore = signal-name
signal _renewed  # gdlint:ignore = signal-name

## In seconds.
const REQUEST_TIMEOUT := 10.0
const SUBMIT_TIMEOUT := 30.0
const HEARTBEAT_INTERVAL := 20.0
const MIN_RETRY_DELAY := 0.5
const MAX_RETRY_DELAY := 5.0
## How often a refresh without a response is repeated.
const MAX_REFRESH_RETRIES := 3

## For example https://scores.example.com.
@export var origin := "http://localhost:5000"
## The id of the board to submit to, read and watch.
@export var board := "main"

## The signed-in user; empty if nobody is signed in.
var user_id := ""

var _access_token := ""
var _refresh_token := ""
var _fresh_until := 0.0
var _is_renewing := false
var _last_timestamp := 0
var _watch_number := 0


func _init() -> void:
	process_mode = Node.PROCESS_MODE_ALWAYS


func _process(_delta: float) -> void:
	_processed.emit()


## Creates a guest with this name.
func join(username: String, join_code := "") -> Dictionary:
	var body := {"username": username}
	if join_code:
		body["join_code"] = join_code
	return await _sign_in("auth/join", "", body)


## Signs in with name and password.
func login(username: String, password: String) -> Dictionary:
	return await _sign_in("auth/login", "", {"username": username, "password": password})


## Signs in with a stored refresh token. Only an error with status 401 means that the sign-in has
## ended; after other errors, try again with the same token.
func resume(refresh_token: String) -> Dictionary:
	var response := {}
	# If the response is lost, the server accepts the same token again for 30 seconds.
	for failures in MAX_REFRESH_RETRIES + 1:
		response = await _sign_in("auth/refresh", refresh_token, {})
		if not _is_temporary(response):
			break
		await _wait(_retry_delay(failures))
	return response


## Returns the current top 10 as [code]top_10_scores[/code].
func top_10() -> Dictionary:
	if user_id:
		return await _send_signed_in(HTTPClient.METHOD_GET, _top_10_path(), {})
	return await _send(HTTPClient.METHOD_GET, _top_10_path(), "", {})


## Submits a score of the signed-in user, reached now, and returns its receipt. It counts once,
## however often it is sent. For boards with tickets, pass the one of [method ticket].
##
## Retries for 30 seconds. After the error [code]timeout[/code] it may or may not have counted: pass
## the [code]update[/code] of the error to [method submit_update] to continue.
func submit(score: float, ticket_of_run := "") -> Dictionary:
	var update := {
		"board": board,
		"user_id": user_id,
		"score_value": score,
		"timestamp": _timestamp(),
		"nonce": Crypto.new().generate_random_bytes(16).hex_encode(),
	}
	if ticket_of_run:
		update["ticket"] = ticket_of_run
	return await submit_update(update)


## Continues with an update whose receipt did not arrive.
func submit_update(update: Dictionary) -> Dictionary:
	var deadline := _now() + SUBMIT_TIMEOUT
	var failures := 0
	while _now() < deadline:
		var response := await _send_signed_in(HTTPClient.METHOD_POST, "score/update", update)
		# An earlier attempt counted, but its response was lost.
		if response.has("error") and response["error"].has("receipt"):
			return response["error"]["receipt"]
		if not _is_temporary(response):
			return response
		var delay := maxf(_retry_delay(failures), response["error"].get("retry_after", 0.0))
		await _wait(minf(delay, deadline - _now()))
		failures += 1
	var error := _error("timeout", "There was no receipt within 30 s.")
	error["error"]["update"] = update
	return error


## Returns the [code]ticket[/code] of a run that starts now.
func ticket() -> Dictionary:
	return await _send_signed_in(HTTPClient.METHOD_POST, "score/ticket", {"board": board})


## Watches the board, emits the signals, and reconnects after lost connections. Returns after
## [method stop_watching], or with an error if the server refuses the user or the board.
func watch() -> Dictionary:
	_watch_number += 1
	var number := _watch_number
	var refused := ""
	var failures := 0
	while number == _watch_number:
		var response := await _get_token(refused)
		if not response.has("error"):
			refused = ""
			if await _watch_once(_access_token, number):
				failures = 0
			elif number == _watch_number:
				refused = _access_token
				# The socket does not expose why the server refused it: this response has an error
				# if the server is unreachable or refuses the board; else it is the token.
				response = await _send(HTTPClient.METHOD_GET, _top_10_path(), refused, {})
		if response.has("error"):
			refused = ""
			if not _is_temporary(response):
				return response
		# Also after a close by the server, so that not all clients reconnect at once.
		await _wait(_retry_delay(failures))
		failures += 1
	return {}


## Closes the connection of [method watch].
func stop_watching() -> void:
	_watch_number += 1


## Connects, and emits the signals until the connection ends. Returns false if it was not opened.
func _watch_once(token: String, number: int) -> bool:
	var socket := WebSocketPeer.new()
	# In a browser, this is the one place for the token where it does not appear in logs.
	socket.supported_protocols = PackedStringArray(["scoreboard", token])
	# Detects dead connections; older versions of Godot 4 ignore it.
	socket.set("heartbeat_interval", HEARTBEAT_INTERVAL)
	var url := "ws%s/ws/scoreboard?board=%s" % [_trimmed_origin().trim_prefix("http"), board]
	var deadline := _now() + REQUEST_TIMEOUT
	if socket.connect_to_url(url) != OK:
		return false
	var was_open := false
	while number == _watch_number:
		socket.poll()
		var state := socket.get_ready_state()
		if state == WebSocketPeer.STATE_OPEN and not was_open:
			was_open = true
			live_changed.emit(true)
		while socket.get_available_packet_count() > 0:
			_emit_message(socket.get_packet().get_string_from_utf8())
		if state == WebSocketPeer.STATE_CLOSED or (not was_open and _now() > deadline):
			break
		await _processed
	socket.close()
	socket.poll()
	if was_open:
		live_changed.emit(false)
	return was_open


func _emit_message(text: String) -> void:
	var message: Dictionary = JSON.parse_string(text)
	if message["type"] == "top_10_update":
		top_10_changed.emit(message["data"]["top_10_scores"])
	elif message["type"] == "score_update":
		score_changed.emit(message["data"])


func _sign_in(path: String, token: String, body: Dictionary) -> Dictionary:
	var response := await _send(HTTPClient.METHOD_POST, path, token, body)
	if not response.has("error"):
		user_id = response["user_id"]
		_set_access_token(response)
		_refresh_token = response["refresh_token"]
		refresh_token_changed.emit(_refresh_token)
	return response


func _set_access_token(response: Dictionary) -> void:
	_access_token = response["access_token"]
	_fresh_until = _now() + response["expires_in"] * 0.9


## Gets the access token of the user, or a read-only one if nobody is signed in: a new one if it is
## about to expire or is the refused one. The response has an error, or _access_token is valid.
func _get_token(refused: String) -> Dictionary:
	# A refresh token can be used once, so concurrent callers share one request.
	while _is_renewing:
		await _renewed
	if _access_token and _access_token != refused and _now() < _fresh_until:
		return {}
	_is_renewing = true
	var response := {}
	if _refresh_token:
		response = await resume(_refresh_token)
	else:
		response = await _send(HTTPClient.METHOD_POST, "auth/viewer", "", {})
		if not response.has("error"):
			_set_access_token(response)
	_is_renewing = false
	_renewed.emit()
	return response


## Sends a request with the user's token; again if the token is refused.
func _send_signed_in(method: HTTPClient.Method, path: String, body: Dictionary) -> Dictionary:
	var refused := ""
	var response := {}
	for _attempt in 2:
		response = await _get_token(refused)
		if response.has("error"):
			return response
		refused = _access_token
		response = await _send(method, path, refused, body)
		var error: Dictionary = response.get("error", {})
		if error.get("status") != 401 or error.get("code") == "not_permitted":
			break
	return response


func _send(method: HTTPClient.Method, path: String, token: String, body: Dictionary) -> Dictionary:
	var headers := PackedStringArray(["Content-Type: application/json"])
	if token:
		headers.append("Authorization: Bearer " + token)
	# Each request has its own node, because a node sends one request at a time.
	var http := HTTPRequest.new()
	http.timeout = REQUEST_TIMEOUT
	add_child(http)
	var text := ""
	if method == HTTPClient.METHOD_POST:
		# With all digits, so that the score arrives unchanged.
		text = JSON.stringify(body, "", true, true)
	var url := "%s/api/%s" % [_trimmed_origin(), path]
	var result := []
	if http.request(url, headers, method, text) == OK:
		result = await http.request_completed
	http.queue_free()
	if not result or result[0] != HTTPRequest.RESULT_SUCCESS:
		return _error("unreachable", "The server did not respond.")
	return _response(result[1], result[2], result[3])


func _response(status: int, headers: PackedStringArray, body: PackedByteArray) -> Dictionary:
	var json := JSON.new()
	if json.parse(body.get_string_from_utf8()) != OK or not json.data is Dictionary:
		return _error("unreachable", "A proxy sent the response.")
	var response: Dictionary = json.data
	if status < 200 or status > 299:
		if not response.get("error") is Dictionary:
			return _error("unreachable", "A proxy sent the response.")
		response["error"]["status"] = status
		for header in headers:
			if header.to_lower().begins_with("retry-after:"):
				response["error"]["retry_after"] = header.get_slice(":", 1).to_float()
	return response


func _error(code: String, message: String) -> Dictionary:
	return {"error": {"code": code, "message": message, "status": 0}}


## Whether the same request may succeed later.
func _is_temporary(response: Dictionary) -> bool:
	if not response.has("error"):
		return false
	var status: int = response["error"]["status"]
	return status == 0 or status == 429 or status >= 500


## Returns the current time in UTC. It is later than those before, because a retry can arrive after
## a later update.
func _timestamp() -> String:
	_last_timestamp = maxi(int(Time.get_unix_time_from_system() * 1000), _last_timestamp + 1)
	@warning_ignore("integer_division")
	var seconds := Time.get_datetime_string_from_unix_time(_last_timestamp / 1000)
	return "%s.%03dZ" % [seconds, _last_timestamp % 1000]


func _trimmed_origin() -> String:
	return origin.trim_suffix("/")


func _top_10_path() -> String:
	return "boards/%s/top10" % board


func _now() -> float:
	return Time.get_ticks_msec() / 1000.0


## Waits for a signal of this node and not of the tree: if the node is freed, it is never emitted.
func _wait(seconds: float) -> void:
	var end := _now() + seconds
	while _now() < end:
		await _processed


## Returns between half and all of a delay that doubles with each failure.
func _retry_delay(failures: int) -> float:
	return minf(MIN_RETRY_DELAY * pow(2, failures), MAX_RETRY_DELAY) * randf_range(0.5, 1.0)
