import { pathToFileURL } from 'node:url'
import type { ActionContext, ArtifactRef, ModuleContext, NexusModule } from '../../contracts/module.ts'
import {
  type ActionParams,
  ARTIFACT_BYTES_MAX,
  type InitializeAnswer,
  type InitializeParams,
  RPC_CODES,
} from '../../contracts/wire.ts'
import type { Clock } from '../../kit/clock.ts'
import { RpcFailure, type RpcId, type RpcPeer } from '../rpc.ts'
import { createInstruments } from './instruments.ts'
import { createLog } from './say.ts'
import { thrownFailure } from './thrown.ts'

/** The module that lives in this process, between its import and its stop. */
export class Resident {
  readonly #peer: RpcPeer
  readonly #module: NexusModule
  readonly #context: ModuleContext
  readonly #life: AbortController
  readonly #works = new Set<AbortController>()
  #started = false

  private constructor(peer: RpcPeer, module: NexusModule, context: ModuleContext, life: AbortController) {
    this.#peer = peer
    this.#module = module
    this.#context = context
    this.#life = life
  }

  /** Imports the entry. @throws RpcFailure `unloadable` or `threw`. */
  static async load(peer: RpcPeer, clock: Clock, params: InitializeParams): Promise<Resident> {
    const module = await importModule(params.entry)
    const life = new AbortController()
    return new Resident(peer, module, createContext(peer, clock, params, life.signal), life)
  }

  get answer(): InitializeAnswer {
    const { actions = {}, health, configure, snapshot } = this.#module
    return {
      actions: Object.keys(actions),
      has: { health: !!health, configure: !!configure, snapshot: !!snapshot },
    }
  }

  async start(): Promise<void> {
    await guarded(() => this.#module.start?.(this.#context))
    this.#started = true
  }

  /** A module whose start failed or still runs is not asked to stop: there is nothing it could undo in order. */
  async stop(): Promise<void> {
    this.#life.abort(new Error('the instance stops'))
    for (const work of this.#works) work.abort(this.#life.signal.reason)
    if (this.#started) await guarded(() => this.#module.stop?.(this.#context))
  }

  async health(): Promise<unknown> {
    return await guarded(() => this.#module.health?.(this.#context) ?? { status: 'healthy' })
  }

  async configure(change: unknown): Promise<unknown> {
    const taken = change as { config: Readonly<Record<string, unknown>> }
    const answer = await guarded(
      () => this.#module.configure?.(this.#context, change as never) ?? 'needs-reload',
    )
    if (answer === 'applied') Object.assign(this.#context, { config: taken.config })
    return answer
  }

  async snapshot(): Promise<unknown> {
    const state = await guarded(() => this.#module.snapshot?.(this.#context))
    const bytes = Buffer.byteLength(JSON.stringify(state) ?? '')
    if (bytes <= SNAPSHOT_BYTES_MAX) return state
    throw thrownFailure(new Error(`the snapshot has ${bytes} bytes, more than ${SNAPSHOT_BYTES_MAX}`))
  }

  async act(params: ActionParams, id: RpcId, cancelled: AbortSignal): Promise<ActionAnswer> {
    const actions = this.#module.actions ?? {}
    const action = Object.hasOwn(actions, params.name) ? actions[params.name] : undefined
    if (action === undefined) throw new RpcFailure(-32601, `no action ${params.name}`)
    const work = new AbortController()
    cancelled.addEventListener('abort', () => work.abort(reasonOf(cancelled)), { once: true })
    if (this.#life.signal.aborted) work.abort(this.#life.signal.reason)
    this.#works.add(work)
    const before = process.cpuUsage()
    try {
      const output = await action.call(actions, params.input, this.#actionContext(params, id, work.signal))
      const { user, system } = process.cpuUsage(before)
      return { output: output === undefined ? null : output, cpu_ms: (user + system) / 1_000 }
    } catch (thrown) {
      throw thrownFailure(thrown, work.signal.aborted ? RPC_CODES.aborted : RPC_CODES.threw)
    } finally {
      this.#works.delete(work)
    }
  }

  #actionContext(params: ActionParams, id: RpcId, signal: AbortSignal): ActionContext {
    return {
      ...this.#context,
      signal,
      ...(params.mission === undefined ? {} : { mission: params.mission }),
      progress: (fraction, note) => this.#peer.notify('progress', { id, fraction, note }),
      artifact: async (name, content, mediaType = 'application/octet-stream') => {
        const bytes = typeof content === 'string' ? Buffer.from(content) : content
        if (bytes.byteLength > ARTIFACT_BYTES_MAX) {
          throw new Error(`artifact ${name} has ${bytes.byteLength} bytes, more than ${ARTIFACT_BYTES_MAX}`)
        }
        const base64 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
        const said = { call: id, name, media_type: mediaType, base64 }
        return (await asked(this.#peer, 'artifact', said)) as ArtifactRef
      },
    }
  }
}

interface ActionAnswer {
  readonly output: unknown
  readonly cpu_ms: number
}

function createContext(
  peer: RpcPeer,
  clock: Clock,
  order: InitializeParams,
  signal: AbortSignal,
): ModuleContext {
  return {
    id: order.module_id,
    instance: order.instance,
    generation: order.generation,
    config: order.config,
    log: createLog(clock, (line) => peer.notify('log', line)),
    signal,
    ...(order.inherited === undefined ? {} : { inherited: order.inherited }),
    dataDir: order.data_dir,
    roots: order.roots,
    ...(order.records === undefined ? {} : { records: order.records as never }),
    notReady: (reason, retryInMs) =>
      peer.notify('notready', { reason: String(reason), retry_in_ms: retryInMs }),
    ready: () => peer.notify('ready', {}),
    metrics: createInstruments(clock, (samples) => peer.notify('metrics', samples)),
    nexus: {
      async command(name, params = {}) {
        return await asked(peer, 'command', { name, params })
      },
    },
  }
}

/** What the daemon refuses arrives as an error that has its `code` and `remedy`, as the daemon's own failures do. */
async function asked(peer: RpcPeer, method: string, params: object): Promise<unknown> {
  try {
    return await peer.request(method, params, ASKED_WAIT_MS)
  } catch (error) {
    const told = error instanceof RpcFailure && typeof error.data === 'object' ? error.data : {}
    throw Object.assign(new Error((error as Error).message), told)
  }
}

async function importModule(entry: string): Promise<NexusModule> {
  let exported: unknown
  try {
    const namespace = (await import(pathToFileURL(entry).href)) as { default?: unknown }
    exported = namespace.default
  } catch (thrown) {
    throw thrownFailure(thrown, isUnloadable(thrown) ? RPC_CODES.unloadable : RPC_CODES.threw)
  }
  const fault = faultOf(exported)
  if (fault === undefined) return exported as NexusModule
  const data = { name: 'Error', message: fault, stack: `${fault}\n    at ${entry}`, config_error: false }
  throw new RpcFailure(RPC_CODES.unloadable, fault, data)
}

/** Code that cannot be loaded at all, as opposed to code that ran and threw: only a new version helps. */
function isUnloadable(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false
  if (thrown instanceof SyntaxError) return true
  return /^ERR_(MODULE|UNSUPPORTED|UNKNOWN|INVALID|PACKAGE|IMPORT)_/.test(
    String((thrown as { code?: unknown }).code),
  )
}

function faultOf(exported: unknown): string | undefined {
  if (typeof exported !== 'object' || exported === null)
    return 'the entry has no default export that is an object'
  const module = exported as Record<string, unknown>
  const odd = ['start', 'stop', 'health', 'configure', 'snapshot'].find(
    (name) => module[name] !== undefined && typeof module[name] !== 'function',
  )
  if (odd !== undefined) return `the default export's ${odd} is not a function`
  const { actions = {} } = module
  if (typeof actions !== 'object' || actions === null) return "the default export's actions are not an object"
  const action = Object.entries(actions).find(([, value]) => typeof value !== 'function')
  return action === undefined ? undefined : `the action ${action[0]} is not a function`
}

async function guarded<Answer>(run: () => Answer): Promise<Awaited<Answer>> {
  try {
    return await run()
  } catch (thrown) {
    throw thrownFailure(thrown)
  }
}

function reasonOf(cancelled: AbortSignal): Error {
  return new Error(
    cancelled.reason === 'deadline' ? 'the deadline of the call passed' : 'the call was aborted',
  )
}

const SNAPSHOT_BYTES_MAX = 262_144
/** A reload that drains and settles takes long; nothing that a module asks for takes longer. */
const ASKED_WAIT_MS = 300_000
