/**
 * Every way the daemon can refuse or fail, in one table.
 *
 * `status` is the HTTP status, `say` the sentence an operator reads (`{name}` slots are filled from the facts of
 * the case), `remedy` the next thing to do: a failure without a remedy does not belong here. `exit` is the exit
 * code of `nexusd` for failures that end it (sysexits.h: 69 unavailable, 73 cannot create, 74 I/O, 75 held by
 * another, 77 permission, 78 configuration).
 */
export const FAILURES = {
  // What was asked
  BAD_REQUEST: {
    status: 400,
    say: '{detail}',
    remedy: 'correct the field named by the pointer; /docs shows every shape',
  },
  BODY_TOO_LARGE: {
    status: 413,
    say: 'the body has more than {limit} bytes',
    remedy: 'send less; put large input into a file under an allowed folder and name its path',
  },
  MEDIA_TYPE_UNSUPPORTED: {
    status: 415,
    say: 'a write needs the content type application/json, this was {given}',
    remedy: "send the header 'Content-Type: application/json'",
  },
  HOST_REFUSED: {
    status: 421,
    say: 'the Host header {host} does not name this daemon',
    remedy: 'ask for 127.0.0.1, localhost or [::1]; pages of other sites may not speak to this daemon',
  },
  ORIGIN_REFUSED: {
    status: 403,
    say: 'a page of {origin} may not change anything here',
    remedy: 'send writes from a program, or from a page that this daemon serves',
  },
  HEADERS_TOO_LARGE: {
    status: 431,
    say: 'the headers have more than {limit} bytes',
    remedy: 'send fewer or shorter headers',
  },
  REQUEST_TOO_SLOW: {
    status: 408,
    say: 'the request did not arrive in time',
    remedy: 'send headers within 10 s and the whole request within 30 s',
  },
  STREAMS_FULL: {
    status: 429,
    say: '{limit} streams are open and no more are served',
    remedy: 'close one, or retry later',
    retryAfterSeconds: 5,
  },
  ROUTE_UNKNOWN: {
    status: 404,
    say: 'there is no {method} {path}',
    remedy: 'see /docs for the routes',
  },
  METHOD_NOT_ALLOWED: {
    status: 405,
    say: '{path} does not understand {method}',
    remedy: 'see /docs for the method of each route',
  },
  COMMAND_UNKNOWN: {
    status: 404,
    say: 'no command is named {command}{nearest}',
    remedy: 'see /docs for the commands',
  },
  NOT_AVAILABLE: {
    status: 501,
    say: '{what} is not built yet',
    remedy: 'see CHANGELOG.md for what this version can do',
  },
  INTERNAL: {
    status: 500,
    say: 'the daemon made a mistake (reference {reference})',
    remedy: 'look for the reference in the log and report it with those lines',
    exit: 70,
  },
  // Who asks
  PERMISSION_DENIED: {
    status: 403,
    say: '{principal} lacks the permission {permission}',
    remedy: 'use a token whose role has it, or the operator key',
  },
  OPERATOR_KEY_REQUIRED: {
    status: 403,
    say: '{command} needs the operator key',
    remedy:
      'give the key with the request (`operator_key`, or the header `X-Operator-Key`); `nexus key show` prints it',
  },
  UNAUTHENTICATED: {
    status: 401,
    say: 'the token or operator key is not valid here',
    remedy: 'the operator key is in operator_pin.txt of the data folder: `nexus key show`',
  },
  PUBLISHED_KEY: {
    status: 401,
    say: 'this is the key printed in the documentation; everybody knows it, so it opens nothing',
    remedy: 'use the key of this daemon (`nexus key show`), or start with `nexusd --dev` on loopback',
  },
  GUESSES_LIMITED: {
    status: 429,
    say: 'too many wrong keys or tokens; the right one is still taken at once',
    remedy: 'wait {seconds} s, and look who is guessing',
    retryAfterSeconds: 6,
  },
  DEV_REFUSED: {
    status: 500,
    say: '--dev accepts a published key and is refused here: {reason}',
    remedy: 'leave --dev out, or listen on loopback outside containers and production',
    exit: 78,
  },
  // Modules
  MODULE_UNKNOWN: {
    status: 404,
    say: 'no module is named {module}{nearest}',
    remedy: 'run `nexus modules` for the names, or check modules/<group>/<name>/module.json',
  },
  MODULE_INVALID: {
    status: 409,
    say: '{module} is invalid: {reason}',
    remedy: 'correct {file} and save it; the daemon reads it again at once',
  },
  MODULE_NOT_READY: {
    status: 409,
    say: '{module} is {state} and takes no calls',
    remedy: 'see `nexus explain {module}`, then `nexus start {module}`',
  },
  MODULE_WRONG_STATE: {
    status: 409,
    say: '{module} is {state}: it cannot {wanted} now',
    remedy: 'see `nexus explain {module}` for what happens next',
  },
  MODULE_SCALED_TO_NONE: {
    status: 409,
    say: '{module} is scaled to none and takes no calls',
    remedy: '`nexus scale {module} 1` starts one instance',
  },
  MODULE_EXCLUSIVE: {
    status: 409,
    say: '{module} is exclusive: two instances of it may not overlap, so {replicas} are too many',
    remedy: 'leave it at one, or take `exclusive` out of its module.json if instances may run side by side',
  },
  MODULE_START_FAILED: {
    status: 409,
    say: '{module} did not start ({phase}): {reason}',
    remedy: 'read the stack in `nexus explain {module}`, correct the code and save it',
  },
  MODULE_BUSY: {
    status: 429,
    say: '{module} has {waiting} calls waiting and takes no more',
    remedy: 'retry later, or give the module more replicas',
    retryAfterSeconds: 1,
  },
  MODULE_CHANGING: {
    status: 429,
    say: '{module} has too many changes waiting and takes no more',
    remedy: 'wait until `nexus status {module}` says it has started',
    retryAfterSeconds: 3,
  },
  RELOAD_ROLLED_BACK: {
    status: 409,
    say: '{module} was rolled back to {generation}: the new code failed in phase {phase}: {reason}',
    remedy: 'correct the code and save it; the former generation serves meanwhile',
  },
  RELOAD_REFUSED: {
    status: 409,
    say: '{module} was not reloaded: {reason}',
    remedy:
      'change the code and save it, or name it with `--generation` and the hash that `nexus reload {module} --dry-run` tells',
  },
  GENERATION_UNKNOWN: {
    status: 404,
    say: '{module} has no generation {generation}',
    remedy: 'see `nexus explain {module}` for the generations that are kept',
  },
  GENERATION_REFUSED: {
    status: 409,
    say: '{module}: its folder cannot become a generation: {reason}',
    remedy: 'keep plain files and inner links only, and put dependencies into its own node_modules',
  },
  ACTION_UNKNOWN: {
    status: 404,
    say: '{module} has no action {action}{nearest}',
    remedy: 'run `nexus status {module}` for its actions',
  },
  ACTION_INPUT_INVALID: {
    status: 400,
    say: 'the input of {module}/{action} does not fit: {detail}',
    remedy: "correct the field named by the pointer; the schema is in the module's module.json",
  },
  ACTION_FAILED: {
    status: 502,
    say: '{module}/{action} threw: {reason}',
    remedy: 'read `nexus logs {module}`; correct the input or the module',
  },
  CALL_CUT: {
    status: 502,
    say: '{module}/{action} was cut: the instance ended while it worked',
    remedy: 'its outcome is unknown; look at what it changed before you call again',
  },
  CALL_EXPIRED: {
    status: 504,
    say: '{module}/{action} gave no answer within {timeout_ms} ms',
    remedy: 'give it more time (`timeout_ms`), or see `nexus explain {module}`',
  },
  CALL_ABORTED: {
    status: 409,
    say: '{module}/{action} was stopped: {reason}',
    remedy: 'call again when the reason is gone',
  },
  CONFIG_VALUE_INVALID: {
    status: 400,
    say: 'the setting {key} of {module} does not fit: {detail}',
    remedy: "see `config.schema` in the module's module.json",
  },
  SETTING_SECRET: {
    status: 400,
    say: '{key} of {module} looks like a secret, and settings are kept in the journal, where others read them',
    remedy:
      'put it under `modules.{module}.config` of nexus.yaml, or into a variable that `permissions.env` lists',
  },
  HOST_PROTOCOL: {
    status: 502,
    say: 'the host of {module} broke the protocol: {reason}',
    remedy: 'the host was killed and starts again; a module must not write to descriptor 3',
  },
  // Missions
  MISSION_UNKNOWN: {
    status: 404,
    say: 'no mission is named {mission}',
    remedy: 'run `nexus missions list` for the ids',
  },
  MISSION_BLOCKED: {
    status: 409,
    say: 'the mission is FAILING and is only a suggestion: {reasons}',
    remedy: '{counterfactual}',
  },
  APPROVAL_REQUIRED: {
    status: 403,
    say: 'the mission is BORDERLINE and waits for an operator',
    remedy: 'approve it with the operator key: `nexus missions approve {mission}`',
  },
  MISSION_WRONG_STATE: {
    status: 409,
    say: 'the mission is {state}: it cannot be {wanted}',
    remedy: 'see `nexus missions show {mission}`',
  },
  IDEMPOTENCY_CONFLICT: {
    status: 409,
    say: 'this Idempotency-Key was used with another body',
    remedy: 'send the same body again, or choose a new key',
  },
  PLAN_UNAVAILABLE: {
    status: 409,
    say: 'no module plans missions of the category {category}: {reason}',
    remedy: 'give a `plan`, or start a module that lists the category',
  },
  PLAN_INVALID: {
    status: 400,
    say: 'the plan cannot run: {detail}',
    remedy: 'correct the step named; a step may only read what it needs, directly or through others',
  },
  QUEUE_FULL: {
    status: 429,
    say: '{what} holds {limit} missions {waiting} and takes no more',
    remedy: 'retry later, decide or cancel what waits, or raise {setting}',
    retryAfterSeconds: 5,
  },
  RATE_LIMITED: {
    status: 429,
    say: '{principal} changes more than {rate} missions in a second',
    remedy: 'retry later and slower, in batches, or raise missions.rate_per_second',
    retryAfterSeconds: 1,
  },
  PLANNERS_BUSY: {
    status: 429,
    say: '{waiting} missions wait for somebody to plan them, for up to {seconds} s, and this was one too many',
    remedy: 'give a `plan`, or retry later',
    retryAfterSeconds: 2,
  },
  SPACE_LOW: {
    status: 507,
    say: 'the disk of the data folder has {free_mb} MB left, and {reserve_mb} MB are kept for what runs',
    remedy: 'make room, or lower missions.free_space_mb; missions are taken again within seconds',
    retryAfterSeconds: 10,
  },
  APPROVAL_STALE: {
    status: 409,
    say: '{mission} is no longer what was looked at: its goal, constraints, plan or score have changed',
    remedy: 'look again: `nexus missions show {mission}`',
  },
  OVERRIDE_USED: {
    status: 409,
    say: '{mission} was overridden by {by} already, and an override is for one execution',
    remedy: 'see `nexus missions show {mission}`; what shall run again is created again, and judged',
  },
  STEP_INPUT_MISSING: {
    status: 409,
    say: 'the reference {reference} leads nowhere: {detail}',
    remedy: 'compare the path with the output of that step: `nexus missions show` prints it',
  },
  MAX_TIME_EXCEEDED: {
    status: 409,
    say: 'the mission used up its {max_time_seconds} s of execution time',
    remedy: 'create it again with more `max_time_seconds`, or with less to do',
  },
  MAX_STEPS_EXCEEDED: {
    status: 409,
    say: 'the plan has {steps} steps, the mission may take {max_steps}',
    remedy: 'create it again with more `max_steps`, or with a shorter plan',
  },
  MAINTENANCE_UNKNOWN: {
    status: 404,
    say: 'no maintenance is named {id}',
    remedy: 'see `nexus maintenance list`',
  },
  MAINTENANCE_FULL: {
    status: 409,
    say: '{limit} schedules are kept already',
    remedy: 'remove one: `nexus maintenance remove <id>`',
  },
  MAINTENANCE_UNDER_WAY: {
    status: 409,
    say: 'a run of {task} is under way, and there is never a second one',
    remedy: 'wait for its end; `nexus maintenance list` shows its mission',
  },
  MAINTENANCE_NOT_DUE: {
    status: 409,
    say: 'no run of {id} is under way whose task is {task}',
    remedy: 'order one: `nexus maintenance run {task}`',
  },
  ARTIFACT_UNKNOWN: {
    status: 404,
    say: 'the mission has no artifact {name}',
    remedy: 'the mission lists its artifacts: `nexus missions show {mission}`',
  },
  ARTIFACTS_EXCEEDED: {
    status: 413,
    say: 'the mission would keep {count} artifacts of {bytes} bytes together; the most is {count_max}, of {bytes_max}',
    remedy: 'let its actions keep fewer or smaller files, or split the mission',
  },
  ARTIFACT_DAMAGED: {
    status: 500,
    say: 'the artifact {sha256} is damaged: its bytes no longer have this hash',
    remedy: 'restore the file below artifacts/ from a backup, or run the mission again',
  },
  MISSION_DAMAGED: {
    status: 500,
    say: 'the record of mission {mission} is damaged: file {file} of missions, byte {offset}',
    remedy: 'stop the daemon and run `nexus journal rebuild`: the journal tells it again',
  },
  // What is remembered
  JOURNAL_UNAVAILABLE: {
    status: 503,
    say: 'the journal could not be synced ({reason}), so nothing can be changed',
    remedy: 'the daemon ends with code 74; look at the disk, then start it again',
    exit: 74,
    retryAfterSeconds: 5,
  },
  JOURNAL_FULL: {
    status: 503,
    say: 'the disk has no room for the journal ({reason}); the change was not made',
    remedy:
      'make room on the disk of the data folder; a daemon that runs goes on by itself, else start it again',
    exit: 74,
    retryAfterSeconds: 5,
  },
  JOURNAL_BUSY: {
    status: 429,
    say: 'more than {limit} records wait for the disk',
    remedy: 'retry later; the disk is slow',
    retryAfterSeconds: 1,
  },
  JOURNAL_DAMAGED: {
    status: 503,
    say: 'the journal is damaged: {file} line {line} (byte {offset}, sequence number {seq}): {reason}',
    remedy:
      'restore the file from a backup; without one `nexus journal repair` says what going on would cost',
    exit: 74,
  },
  JOURNAL_ROLLED_BACK: {
    status: 503,
    say: 'the journal is an older or another one: {by} knows record {known}, and the journal {reason}',
    remedy:
      'put the newer journal back (audit.jsonl and audit/ belong together); without one `nexus journal repair` says what going on would cost',
    exit: 74,
  },
  JOURNAL_NEWER: {
    status: 503,
    say: '{file} is written in format {found}, this daemon reads format {known}',
    remedy: 'start the newer version that wrote it, or restore the data folder from before the upgrade',
    exit: 78,
  },
  RECORD_TOO_LARGE: {
    status: 413,
    say: 'a record of {bytes} bytes is more than the journal takes in a line ({limit})',
    remedy: 'send less',
  },
  // Starting
  CONFIG_INVALID: {
    status: 500,
    say: '{file}: {detail}',
    remedy: 'correct the setting; `nexus config` lists all of them',
    exit: 78,
  },
  DATA_FOLDER_HELD: {
    status: 500,
    say: 'the data folder {dir} is in use by another daemon{pid}',
    remedy: 'stop that daemon, or give this one its own --data-dir',
    exit: 75,
  },
  DATA_FOLDER_UNUSABLE: {
    status: 500,
    say: 'the data folder {dir} cannot be used: {reason}',
    remedy: '{advice}',
    exit: 77,
  },
  SOCKET_PATH_TOO_LONG: {
    status: 500,
    say: 'the path of the Unix socket has {bytes} bytes, the system takes 107: {path}',
    remedy: 'choose a shorter --data-dir',
    exit: 73,
  },
  PORT_UNAVAILABLE: {
    status: 500,
    say: 'cannot listen on {host}:{port}: {reason}',
    remedy:
      'end what uses the port, or choose another: with --port or --metrics-port, or in `listen` of its module.json',
    exit: 69,
  },
  KEY_FILE_UNSAFE: {
    status: 500,
    say: 'the key file {file} is not safe: {reason}',
    remedy: 'run `chmod 600` and `chown` to your own account on it; it must be a plain file',
    exit: 77,
  },
  // Clients
  DAEMON_UNREACHABLE: {
    status: 503,
    say: 'no daemon answers at {where}',
    remedy: 'start it with `npm start` or `nexusd`, or name its socket with --socket or NEXUS_SOCKET',
  },
} as const satisfies Record<string, FailureEntry>

interface FailureEntry {
  readonly status: number
  readonly say: string
  readonly remedy: string
  readonly exit?: number
  readonly retryAfterSeconds?: number
}

export type FailureCode = keyof typeof FAILURES
export type FailureFacts = Readonly<Record<string, string | number>>

/** One thing wrong with an input: where (a JSON pointer), and what. */
export interface Issue {
  readonly pointer: string
  readonly detail: string
}

/** An expected failure: it has a code to branch on, facts to log, and a remedy to show. */
export class NexusError extends Error {
  override readonly name = 'NexusError'
  readonly code: FailureCode
  readonly facts: FailureFacts
  /** Filled for refused input: every fault found, not only the first. */
  readonly issues: readonly Issue[]
  readonly #retryAfterSeconds: number | undefined

  constructor(
    code: FailureCode,
    facts: FailureFacts = {},
    options: ErrorOptions & { issues?: readonly Issue[]; retryAfterSeconds?: number } = {},
  ) {
    super(fill(FAILURES[code].say, facts), options)
    this.code = code
    this.facts = facts
    this.issues = options.issues ?? []
    this.#retryAfterSeconds = options.retryAfterSeconds
  }

  get status(): number {
    return FAILURES[this.code].status
  }

  get remedy(): string {
    return fill(FAILURES[this.code].remedy, this.facts)
  }

  /** The exit code when this failure ends a start of the daemon; 70 for those that never should. */
  get exit(): number {
    const entry: FailureEntry = FAILURES[this.code]
    return entry.exit ?? 70
  }

  /** As measured, where that could be; else as the table says. */
  get retryAfterSeconds(): number | undefined {
    const entry: FailureEntry = FAILURES[this.code]
    return this.#retryAfterSeconds ?? entry.retryAfterSeconds
  }
}

function fill(sentence: string, facts: FailureFacts): string {
  return sentence.replace(/\{(\w+)\}/g, (_, name: string) => String(facts[name] ?? ''))
}
