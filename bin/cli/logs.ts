import { ask, pathOf, read } from '../../aeon-interface/client.ts'
import { parseInteger } from './arguments.ts'
import type { Cli } from './cli.ts'
import { LineSplitter } from './events.ts'
import { EXIT } from './exit.ts'
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
  const follow = options.follow === true
  const print = (line: string, from: string): void =>
    cli.print(cli.json ? `${line}\n` : `${from}${logText(line)}\n`)
  if (moduleId !== undefined) {
    await stream(cli, moduleId, { limit, follow }, (line) => print(line, ''))
    return EXIT.ok
  }
  const { modules } = await cli.get<{ modules: { module_id: string }[] }>('/v1/modules')
  const said: { line: string; from: string }[] = []
  const take = (line: string, from: string): void => {
    if (follow) print(line, from)
    else said.push({ line, from })
  }
  await Promise.all(
    modules.map(({ module_id: id }) => stream(cli, id, { limit, follow }, (line) => take(line, `${id}  `))),
  )
  const inOrder = said.sort((one, other) => timeOf(one.line) - timeOf(other.line)).slice(-limit)
  for (const { line, from } of inOrder) print(line, from)
  return EXIT.ok
}

/** One line for people: time, level, what was said, and the fields that came with it. */
export function logText(line: string): string {
  const entry = parse(line)
  if (entry === undefined) return clean(line)
  const { time, ts, level, msg, message, module_id, instance, pid, hostname, ...rest } = entry
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
