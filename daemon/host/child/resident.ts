import type { ActionContext, ArtifactRef, ModuleContext, NexusModule } from '../../contracts/module.ts'
import {
  type ActionParams,
  ARTIFACT_BYTES_MAX,
  type InitializeAnswer,
  type InitializeParams,
  RPC_CODES,
} from '../../contracts/wire.ts'
import type { Clock } from '../../kit/clock.ts'
import { RpcFailure } from '../rpc.ts'
import type { RpcId } from '../rpc-message.ts'
import { Asking } from './asking.ts'
import { closeGeneration, generationDir } from './closed.ts'
import { createContext } from './context.ts'
import { Instruments } from './instruments.ts'
import { importModule, type Neighbourhood } from './load.ts'
import { createProgress } from './progress.ts'
import { thrownFailure } from './thrown.ts'
import type { Voice } from './voice.ts'

/** A module that lives in this process, between its import and its stop. */
export class Resident {
  readonly #voice: Voice
  readonly #clock: Clock
  readonly #module: NexusModule
  readonly #asking: Asking
  readonly #instruments: Instruments
  readonly #context: ModuleContext
  readonly #life = new AbortController()
  readonly #works = new Set<AbortController>()
  #started = false

  constructor(voice: Voice, clock: Clock, order: InitializeParams, module: NexusModule) {
    this.#voice = voice
    this.#clock = clock
    this.#module = module
    this.#asking = new Asking(voice)
    this.#instruments = new Instruments(clock, (samples) => voice.notify('metrics', samples))
    this.#context = createContext({
      voice,
      clock,
      order,
      asking: this.#asking,
      metrics: this.#instruments,
      signal: this.#life.signal,
    })
  }

  /** Imports the entry. @throws RpcFailure `unloadable` or `threw`. */
  static async load(
    voice: Voice,
    clock: Clock,
    order: InitializeParams,
    where: Neighbourhood,
  ): Promise<Resident> {
    closeGeneration(generationDir(order.entry, order.generation))
    return new Resident(voice, clock, order, await importModule(order.entry, where))
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
    try {
      if (this.#started) await guarded(() => this.#module.stop?.(this.#context))
    } finally {
      this.#instruments.flush()
    }
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
      progress: createProgress(this.#clock, (fraction, note) => {
        this.#voice.notify('progress', { id, fraction, note })
      }),
      artifact: async (name, content, mediaType = 'application/octet-stream') => {
        const bytes = typeof content === 'string' ? Buffer.from(content) : content
        if (bytes.byteLength > ARTIFACT_BYTES_MAX) {
          throw new Error(`artifact ${name} has ${bytes.byteLength} bytes, more than ${ARTIFACT_BYTES_MAX}`)
        }
        const base64 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
        const said = { call: id, name, media_type: mediaType, base64 }
        return (await this.#asking.ask('artifact', said)) as ArtifactRef
      },
    }
  }
}

interface ActionAnswer {
  readonly output: unknown
  readonly cpu_ms: number
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
