import { ask, pathOf, read } from '../../aeon-interface/client.ts'
import { DaemonError, DaemonUnreachable } from '../../aeon-interface/refusal.ts'
import { sleep } from '../../daemon/kit/clock.ts'
import { parseInteger } from './arguments.ts'
import type { Cli } from './cli.ts'
import { follow, LineSplitter } from './events.ts'
import { CliError, EXIT } from './exit.ts'
import { clean, tone } from './text.ts'

interface LogLine {
  readonly time?: string | number
  readonly ts?: string | number
  readonly level?: string | number
  readonly msg?: string
  readonly message?: string
  readonly [field: string]: unknown
}

/** `nexus logs [module] [-f]`: what a module said lately, or all of them, and with `-f` what they say. */
export async function logs(
  cli: Cli,
  moduleId: string | undefined,
  options: { lines: string; follow?: boolean },
): Promise<number> {
  const limit = parseInteger(options.lines, '--lines', 1, 10_000)
  const print = (line: string, from: string): void =>
    cli.print(cli.json ? `${line}\n` : `${from}${logText(line)}\n`)
  if (options.follow === true) {
    const follower = new Follower(cli, limit, moduleId === undefined, print)
    return await (moduleId === undefined ? follower.all() : follower.one(moduleId))
  }
  if (moduleId !== undefined) {
    await stream(cli, moduleId, { limit, follow: false }, (line) => print(line, ''))
    return EXIT.ok
  }
  const said: { line: string; from: string }[] = []
  await Promise.all(
    (await moduleIds(cli)).map((id) =>
      stream(cli, id, { limit, follow: false }, (line) => void said.push({ line, from: `${id}  ` })),
    ),
  )
  const inOrder = said.sort((one, other) => timeOf(one.line) - timeOf(other.line)).slice(-limit)
  for (const { line, from } of inOrder) print(line, from)
  return EXIT.ok
}

/** Goes on with what modules say until it is interrupted, through reloads, crashes, and restarts of the daemon. */
class Follower {
  readonly #cli: Cli
  readonly #limit: number
  readonly #print: (line: string, from: string) => void
  readonly #isMany: boolean
  readonly #followed = new Set<string>()
  #isWaiting = false

  constructor(cli: Cli, limit: number, isMany: boolean, print: (line: string, from: string) => void) {
    this.#cli = cli
    this.#limit = limit
    this.#isMany = isMany
    this.#print = print
  }

  /** @throws DaemonUnreachable, DaemonError at the beginning only. */
  async one(moduleId: string): Promise<never> {
    const from = this.#isMany ? `${moduleId}  ` : ''
    const fresh = new Fresh()
    const show = (line: string): void => {
      this.#isWaiting = false
      if (fresh.isNew(line)) this.#print(line, from)
    }
    const listen = (): Promise<void> => {
      fresh.reconnect()
      return stream(this.#cli, moduleId, { limit: this.#limit, follow: true }, show)
    }
    await listen()
    return await this.#again(listen)
  }

  /** Also those that are found later. */
  async all(): Promise<never> {
    const { promise: failed, reject } = Promise.withResolvers<never>()
    const begin = async (): Promise<void> => {
      for (const id of await moduleIds(this.#cli)) {
        if (this.#followed.has(id)) continue
        this.#followed.add(id)
        this.one(id).catch((error: unknown) => {
          this.#followed.delete(id)
          // It went before it was listened to; it is looked for again when something is found.
          if (!isPassing(error)) reject(error)
        })
      }
    }
    await begin()
    const signal = new AbortController().signal
    const types = ['module.discovered']
    const look = (): void => void begin().catch(() => undefined)
    const listen = (): Promise<void> => follow(this.#cli, { types, onOpen: look, onFact: look, signal })
    const again = (): Promise<never> => this.#again(listen)
    return await Promise.race([failed, listen().then(again, again)])
  }

  /** Does it whenever it has ended, and waits while nobody answers. */
  async #again(work: () => Promise<void>): Promise<never> {
    for (;;) {
      if (!this.#isWaiting) this.#cli.note('the daemon ended the stream; waiting for it to come back')
      this.#isWaiting = true
      await sleep(this.#cli.clock, AGAIN_MS)
      try {
        await work()
      } catch (error) {
        if (!isPassing(error)) throw error
      }
    }
  }
}

/** Tells lines that were not shown yet: who connects again is sent the recent ones once more, in order. */
export class Fresh {
  #lastMs = Number.NEGATIVE_INFINITY
  #atLast = new Set<string>()
  #isCatchingUp = false

  /** What comes next may have been seen. */
  reconnect(): void {
    this.#isCatchingUp = true
  }

  isNew(line: string): boolean {
    const ms = timeOf(line)
    if (this.#isCatchingUp && (ms < this.#lastMs || this.#atLast.has(line))) return false
    this.#isCatchingUp &&= ms === this.#lastMs
    if (ms !== this.#lastMs) this.#atLast.clear()
    this.#lastMs = ms
    this.#atLast.add(line)
    return true
  }
}

async function moduleIds(cli: Cli): Promise<string[]> {
  const { modules } = await cli.get<{ modules: { module_id: string }[] }>('/v1/modules')
  return modules.map(({ module_id }) => module_id)
}

/** A daemon that restarts is away, then knows the module not yet. Whoever may not listen will not later either. */
function isPassing(error: unknown): boolean {
  if (error instanceof DaemonUnreachable) return true
  if (error instanceof CliError) return error.exit === 'unreachable'
  return error instanceof DaemonError && (error.status === 404 || error.status >= 500)
}

/** One line for people: time, level, what was said, and the fields that came with it. */
export function logText(line: string): string {
  const entry = parse(line)
  if (entry === undefined) return clean(line)
  const { time, ts, level, msg, message, module, module_id, instance, pid, hostname, ...rest } = entry
  const at = time ?? ts
  const when = typeof at === 'number' ? new Date(at).toISOString() : (at ?? '')
  const name = LEVELS[String(level)] ?? String(level ?? '')
  const more = Object.entries(rest).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
  const painted =
    name === 'error' || name === 'fatal' ? tone('bad', name) : name === 'warn' ? tone('warn', name) : name
  const said = clean([msg ?? message ?? '', ...more].join(' '))
  return [when, painted, said].filter(Boolean).join('  ')
}

async function stream(
  cli: Cli,
  moduleId: string,
  { limit, follow }: { limit: number; follow: boolean },
  onLine: (line: string) => void,
): Promise<void> {
  const lines = new LineSplitter((line) => {
    if (line !== '') onLine(line)
  })
  const path = `/v1/logs/${pathOf(moduleId)}?limit=${limit}${follow ? '&follow=1' : ''}`
  const options = { socketPath: cli.socketPath, timeoutMs: cli.timeoutMs }
  const answer = await ask(path, options, (chunk) => lines.feed(chunk))
  if (answer.status >= 300) read(answer)
}

function timeOf(line: string): number {
  const { time, ts } = parse(line) ?? {}
  return new Date(time ?? ts ?? 0).getTime() || 0
}

/** A restart takes about a second. */
const AGAIN_MS = 500
/** pino's numbers. */
const LEVELS: Readonly<Record<string, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
}

function parse(line: string): LogLine | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}
