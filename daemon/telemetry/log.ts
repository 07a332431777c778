import { isatty } from 'node:tty'
import { styleText } from 'node:util'
import { type Logger, pino, stdSerializers } from 'pino'
import { type Clock, timestamp } from '../kit/clock.ts'
import { LineSink } from './line-sink.ts'
import { REDACTED, SECRET_FIELDS, scrub } from './redact.ts'

type LogLevel = 'debug' | 'info' | 'warn' | 'error'
type Fields = Readonly<Record<string, unknown>>

/** What the daemon says while it runs. Nothing it does can block, throw, or end the daemon. */
export interface Log {
  debug(message: string, fields?: object): void
  info(message: string, fields?: object): void
  warn(message: string, fields?: object): void
  error(message: string, fields?: object): void
  write(level: LogLevel, message: string, fields?: object): void
  /** A log whose lines all carry these fields: `module`, `mission_id`. */
  with(fields: Fields): Log
}

export interface RootLog extends Log {
  /** For all logs made from this one, and for the ones made already. */
  setLevel(level: LogLevel): void
}

export interface LogOptions {
  readonly clock: Clock
  readonly level: LogLevel
  /** Where lines go; standard output unless said. */
  readonly sink?: { write(line: string): void }
  /** For people; on a terminal unless said. */
  readonly pretty?: boolean
  /** On every line. */
  readonly fields?: Fields
}

const STDOUT_FD = 1

/** One JSON object a line; on a terminal one plain line instead. */
export function createLog(options: LogOptions): RootLog {
  const sink = options.sink ?? new LineSink(STDOUT_FD)
  const pretty = options.pretty ?? (options.sink === undefined && isatty(STDOUT_FD))
  const logger = pino(
    {
      level: options.level,
      base: options.fields ?? {},
      messageKey: 'msg',
      timestamp: () => `,"time":"${timestamp(options.clock)}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: stdSerializers.err, error: stdSerializers.err },
      redact: { paths: redactedPaths(), censor: REDACTED },
    },
    { write: (line: string) => sink.write(scrub(pretty ? prettyLine(line) : line)) },
  )
  const gauge: { level: LogLevel } = { level: options.level }
  return Object.assign(wrap(logger, gauge), {
    setLevel: (level: LogLevel) => {
      gauge.level = level
    },
  })
}

function wrap(logger: Logger, gauge: { readonly level: LogLevel }): Log {
  const write = (level: LogLevel, message: string, fields: object = {}): void => {
    if (logger.level !== gauge.level) logger.level = gauge.level
    logger[level](fields, message)
  }
  return {
    write,
    debug: (message, fields) => write('debug', message, fields),
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, fields) => write('error', message, fields),
    with: (fields) => wrap(logger.child(fields), gauge),
  }
}

/** Three levels deep: headers of a request of an event. */
function redactedPaths(): string[] {
  return SECRET_FIELDS.flatMap((field) => ['', '*', '*.*'].map((at) => `${at}["${field}"]`))
}

const COLOURS = { debug: 'gray', info: 'cyan', warn: 'yellow', error: 'red' } as const
const HIDDEN = new Set(['pid', 'service', 'version'])

function prettyLine(line: string): string {
  const { level, time, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown> & { level: LogLevel }
  const clock = String(time).slice(11, 23)
  const fields = Object.entries(rest)
    .filter(([name]) => !HIDDEN.has(name))
    .map(([name, value]) => ` ${name}=${typeof value === 'string' ? plain(value) : JSON.stringify(value)}`)
  const stack = (err as { stack?: string } | undefined)?.stack
  const word = styleText(COLOURS[level], level.toUpperCase().padEnd(5))
  const trace = stack === undefined ? '' : `\n${stack.split('\n').map(plain).join('\n')}`
  return `${styleText('gray', clock)} ${word} ${plain(String(msg))}${styleText('gray', fields.join(''))}${trace}\n`
}

/** Without what a terminal would obey. */
function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return text.replace(/[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g, '·')
}
