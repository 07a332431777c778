import { RPC_CODES, type ThrownData } from '../../contracts/wire.ts'
import { RpcFailure } from '../rpc.ts'

/** Whatever a module threw, as the answer that carries it to the daemon. Modules may throw anything. */
export function thrownFailure(thrown: unknown, code: number = RPC_CODES.threw): RpcFailure {
  const data = describe(thrown)
  return new RpcFailure(code, data.message, data)
}

/** Name, message and stack of whatever was thrown, each of a length that fits a log. */
export function describe(thrown: unknown): ThrownData {
  const { name, message, stack, cause } = read(thrown)
  const because = cause === undefined ? '' : `\ncaused by ${read(cause).stack}`
  return {
    name: name.slice(0, 200),
    message: message.slice(0, 2_000),
    stack: withoutInternals(`${stack}${because}`).slice(0, 8_000),
    config_error: name === 'ConfigError',
  }
}

/** Frames inside Node and inside the host tell an author nothing, and hide his own. */
export function withoutInternals(stack: string): string {
  const isInternal = (line: string): boolean =>
    /^\s+at /.test(line) ? /[( ]node:/.test(line) || line.includes(HOST_FOLDER) : line.startsWith('Node.js v')
  return stack
    .split('\n')
    .filter((line) => !isInternal(line))
    .join('\n')
    .trimEnd()
}

/** Of the program that runs in a host, as stacks name it. */
const HOST_FOLDER = new URL('..', import.meta.url).href

/** Getters of a thrown thing may throw as well. */
function read(thrown: unknown): { name: string; message: string; stack: string; cause?: unknown } {
  try {
    if (typeof thrown !== 'object' || thrown === null) {
      const message = String(thrown)
      return { name: 'Error', message, stack: `${message} (thrown, but no Error: there is no stack)` }
    }
    const { name, message, stack, cause } = thrown as Partial<Record<string, unknown>>
    const said = typeof message === 'string' ? message : JSON.stringify(thrown)
    return {
      name: typeof name === 'string' ? name : 'Error',
      message: said,
      stack: typeof stack === 'string' ? stack : said,
      ...(cause === undefined ? {} : { cause }),
    }
  } catch {
    return { name: 'Error', message: 'something that cannot be described', stack: '' }
  }
}
