extends Node
## Runs the commands that the test adds to the array [code]commands[/code] of the page, each with a
## client of its own. Prints one line for each signal and result.

const Client := preload("res://scoreboard.gd")


func _ready() -> void:
	get_tree().paused = true
	process_mode = Node.PROCESS_MODE_ALWAYS


func _process(_delta: float) -> void:
	var command: Variant = JavaScriptBridge.eval("commands.shift()")
	if command:
		_run(JSON.parse_string(command))


func _run(command: Dictionary) -> void:
	var log_line := func(line: String) -> void: print("%d %s" % [command["id"], line])
	var client := Client.new()
	client.origin = command["origin"]
	client.board = command["board"]
	add_child(client)
	client.refresh_token_changed.connect(
		func(token: String) -> void: log_line.call("refresh token " + token)
	)
	client.live_changed.connect(
		func(is_live: bool) -> void: log_line.call("live" if is_live else "offline")
	)
	client.score_changed.connect(
		func(change: Dictionary) -> void:
			log_line.call("score %s %s" % [change["username"], _number(change["new_score"])])
	)
	client.top_10_changed.connect(
		func(entries: Array) -> void: log_line.call("top10 " + _text(entries))
	)
	var response := await _sign_in(client, command)
	if not response.has("error"):
		response = await call(command["action"], client, log_line)
	if response.has("error"):
		log_line.call("error %s %d" % [response["error"]["code"], response["error"]["status"]])
	log_line.call("end")
	client.queue_free()


func _sign_in(client: Client, command: Dictionary) -> Dictionary:
	if command.has("password"):
		return await client.login(command["name"], command["password"])
	if command.has("name"):
		return await client.join(command["name"])
	return {}


func watch(client: Client, _log_line: Callable) -> Dictionary:
	return await client.watch()


func submit(client: Client, log_line: Callable) -> Dictionary:
	var receipt := await client.submit(120.5)
	if not receipt.has("error"):
		log_line.call("receipt %s" % _number(receipt["score"]))
	return receipt


func play(client: Client, log_line: Callable) -> Dictionary:
	client.top_10_changed.connect(
		func(entries: Array) -> void:
			if entries:
				client.stop_watching()
	)
	_submit_with_ticket(client)
	var response := await client.watch()
	if response.has("error"):
		return response
	response = await client.top_10()
	log_line.call("read " + _text(response.get("top_10_scores", [])))
	return response


## Compiles the script at the path that is given as the board.
func compile(client: Client, log_line: Callable) -> Dictionary:
	var script: GDScript = load(client.board)
	log_line.call("compiled" if script and script.can_instantiate() else "invalid")
	return {}


func _submit_with_ticket(client: Client) -> void:
	await client.live_changed
	var response := await client.ticket()
	await client.submit(7, response["ticket"])


func _text(entries: Array) -> String:
	var lines := entries.map(
		func(entry: Dictionary) -> String:
			return "%d %s %s" % [entry["rank"], entry["username"], _number(entry["score"])]
	)
	return ", ".join(lines)


func _number(value: float) -> String:
	return str(value).trim_suffix(".0")
