import type { ModuleLog } from '../../contracts/module.ts'
import type { LogParams } from '../../contracts/wire.ts'
import type { Clock } from '../../kit/clock.ts'

/** `ctx.log`: one notification a line, at most `LINES_MAX` a second, so a loop that logs is no flood of the pipe. */
export function createLog(clock: Clock, say: (params: LogParams) => void): ModuleLog {
  let lines = 0
  const open = (): void => {
    const dropped = lines - LINES_MAX
    lines = 0
    if (dropped > 0) say({ level: 'warn', message: `${dropped} log lines were dropped within a second` })
  }
  const write = (level: LogParams['level'], message: string, fields?: object): void => {
    if (lines === 0) clock.after(1_000, open)
    lines += 1
    if (lines > LINES_MAX) return
    const text = String(message).slice(0, CHARACTERS_MAX)
    say({ level, message: text, ...(fields === undefined ? {} : { fields: portable(fields) }) })
  }
  return {
    debug: (message, fields) => write('debug', message, fields),
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, fields) => write('error', message, fields),
  }
}

/** Errors have no enumerable properties, and loops have no JSON: neither may make a log call throw. */
function portable(fields: object): object {
  try {
    const text = JSON.stringify(fields, (_, value: unknown) => (value instanceof Error ? value.stack : value))
    return text.length > CHARACTERS_MAX
      ? { omitted: `${text.length} characters of fields` }
      : JSON.parse(text)
  } catch (error) {
    return { omitted: `fields without JSON: ${String(error)}` }
  }
}

/** Beyond any manifest's default limit; the daemon applies the manifest's own. */
const LINES_MAX = 2_000
const CHARACTERS_MAX = 16_384
