import { pathToFileURL } from 'node:url'
import type { NexusModule } from '../../contracts/module.ts'
import { RPC_CODES } from '../../contracts/wire.ts'
import { RpcFailure } from '../rpc.ts'
import { thrownFailure } from './thrown.ts'

/** A process with one module ends with what it was started for; one with several goes on without it. */
export type Neighbourhood = 'alone' | 'beside others'

/** Imports an entry and looks at what it exports. @throws RpcFailure `unloadable` or `threw`. */
export async function importModule(entry: string, where: Neighbourhood): Promise<NexusModule> {
  let exported: unknown
  try {
    const namespace = (await import(pathToFileURL(entry).href)) as { default?: unknown }
    exported = namespace.default
  } catch (thrown) {
    if (!isUnloadable(thrown)) throw thrownFailure(thrown)
    if (where === 'alone') leave(thrown)
    throw thrownFailure(thrown, RPC_CODES.unloadable)
  }
  const fault = faultOf(exported)
  if (fault === undefined) return exported as NexusModule
  if (where === 'alone') leave()
  const data = { name: 'Error', message: fault, stack: `${fault}\n    at ${entry}`, config_error: false }
  throw new RpcFailure(RPC_CODES.unloadable, fault, data)
}

/** Code that cannot be loaded at all, as opposed to code that ran and threw: only a new version helps. */
function isUnloadable(thrown: unknown): thrown is Error {
  if (!(thrown instanceof Error)) return false
  if (thrown instanceof SyntaxError) return true
  return LOADER_ERROR.test(String((thrown as { code?: unknown }).code))
}

/**
 * Ends the process once the answer is out: nothing else can be loaded here.
 *
 * The stack of a syntax error does not always say where the error is; then only Node's own report of an uncaught
 * error shows file and line. So it is thrown once more with nobody to catch it, and the daemon reads the report.
 */
function leave(error?: Error): void {
  const isPlaceless = error instanceof SyntaxError && error.stack?.startsWith('SyntaxError') === true
  if (isPlaceless) process.removeAllListeners('uncaughtException')
  setImmediate(() => {
    if (isPlaceless) throw error
    process.exit(1)
  })
}

function faultOf(exported: unknown): string | undefined {
  if (typeof exported !== 'object' || exported === null)
    return 'the entry has no default export that is an object'
  const module = exported as Record<string, unknown>
  const odd = HOOKS.find((name) => module[name] !== undefined && typeof module[name] !== 'function')
  if (odd !== undefined) return `the default export's ${odd} is not a function`
  const { actions = {} } = module
  if (typeof actions !== 'object' || actions === null) return "the default export's actions are not an object"
  const action = Object.entries(actions).find(([, value]) => typeof value !== 'function')
  return action === undefined ? undefined : `the action ${action[0]} is not a function`
}

const HOOKS = ['start', 'stop', 'health', 'configure', 'snapshot']
const LOADER_ERROR = /^ERR_(MODULE|UNSUPPORTED|UNKNOWN|INVALID|PACKAGE|IMPORT)_/
