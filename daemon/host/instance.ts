import { NexusError } from '../contracts/failure.ts'
import type { ConfigChange, ConfigureAnswer, HealthAnswer } from '../contracts/module.ts'
import {
  type HeartbeatParams,
  type InitializeAnswer,
  type InitializeParams,
  RPC_CODES,
} from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'
import { askModule, awaitCall, failedCall, thrownOf } from './calls.ts'
import {
  readArtifact,
  readCommand,
  readHealth,
  readHeartbeat,
  readInitializeAnswer,
  readLog,
  readMetrics,
  readNotReady,
  readProgress,
} from './heard.ts'
import { heartbeatEveryMs, type PulseLimits } from './heartbeat.ts'
import type { HostProcess } from './host-process.ts'
import type { CallAnswer, CallOrder, Departure, Instance, InstanceStats, SpawnOrder } from './port.ts'
import { RpcBroken, RpcFailure } from './rpc.ts'
import type { Patient, PulseWatch } from './watch.ts'

/** A generation that runs in a host process of its own. */
export class ProcessInstance implements Instance, Patient {
  readonly gone: Promise<Departure>
  readonly limits: PulseLimits
  readonly #host: HostProcess
  readonly #order: SpawnOrder
  readonly #clock: Clock
  readonly #watch: PulseWatch
  readonly #bornMs: number
  readonly #calls = new Map<number, CallOrder>()
  readonly #stats = { heartbeat: undefined as HeartbeatParams | undefined, calls: 0, inFlight: 0 }
  #answer: InitializeAnswer = { actions: [], has: { health: false, configure: false, snapshot: false } }
  /** Why it goes, when the daemon wants it gone; the first reason counts. */
  #because: Departure | undefined
  #halting: Promise<void> | undefined
  #stack = ''

  private constructor(host: HostProcess, order: SpawnOrder, clock: Clock, watch: PulseWatch) {
    this.#host = host
    this.#order = order
    this.#clock = clock
    this.#watch = watch
    this.#bornMs = clock.elapsed()
    this.limits = {
      suspectMs: order.limits.heartbeat_suspect_ms,
      killMs: order.limits.heartbeat_kill_ms,
    }
    this.gone = host.ended.then((ending) => this.#because ?? { how: 'exited', ...ending })
    host.adopt(
      {
        request: (method, params) => this.#serve(method, params),
        notice: (method, params, bytes) => this.#hear(method, params, bytes),
        violation: (reason) => this.#violate(reason),
        output: (line) => order.listener.log(line),
      },
      order.limits.log_lines_per_s,
    )
  }

  /**
   * Makes a host that has said hello the instance of `order`.
   *
   * @throws NexusError `MODULE_START_FAILED`; the host is gone then.
   */
  static async settle(
    host: HostProcess,
    order: SpawnOrder,
    clock: Clock,
    watch: PulseWatch,
  ): Promise<ProcessInstance> {
    const instance = new ProcessInstance(host, order, clock, watch)
    try {
      const answer = readInitializeAnswer(
        await host.peer.request('initialize', initial(order), order.timeouts.start_ms),
      )
      if (answer === undefined) throw instance.#startFailure('import', 'the host gave no proper answer')
      instance.#answer = answer
    } catch (error) {
      host.signal('SIGKILL')
      const departure = await instance.gone
      throw error instanceof NexusError ? error : instance.#translate(error, 'import', departure)
    }
    const discharge = watch.admit(instance)
    void instance.gone.then(discharge)
    return instance
  }

  get id(): string {
    return this.#order.instance
  }

  get generation(): string {
    return this.#order.generation
  }

  get pid(): number {
    return this.#host.pid ?? 0
  }

  get actions(): readonly string[] {
    return this.#answer.actions
  }

  get has(): Instance['has'] {
    return this.#answer.has
  }

  get stats(): InstanceStats {
    return this.#stats
  }

  /** Import and start share the one deadline of the manifest. */
  async start(): Promise<void> {
    const leftMs = Math.max(1, this.#order.timeouts.start_ms - (this.#clock.elapsed() - this.#bornMs))
    try {
      await this.#host.peer.request('start', {}, leftMs)
    } catch (error) {
      const departure = error instanceof RpcBroken && error.how === 'closed' ? await this.gone : undefined
      throw this.#translate(error, 'start', departure)
    }
  }

  async call(order: CallOrder): Promise<CallAnswer> {
    const name = { module: this.#order.moduleId, action: order.action }
    if (order.signal?.aborted) {
      throw new NexusError('CALL_ABORTED', { ...name, reason: String(order.signal.reason), stuck: 0 })
    }
    const { action, input, timeoutMs, mission } = order
    const params = {
      name: action,
      input,
      timeout_ms: timeoutMs,
      ...(mission === undefined ? {} : { mission }),
    }
    const asked = this.#host.peer.ask('action', params)
    this.#calls.set(asked.id, order)
    this.#stats.calls += 1
    this.#stats.inFlight += 1
    try {
      return await awaitCall(this.#clock, asked, order, name)
    } finally {
      this.#calls.delete(asked.id)
      this.#stats.inFlight -= 1
    }
  }

  async health(timeoutMs: number): Promise<HealthAnswer> {
    const answer = readHealth(await this.#ask('health', {}, timeoutMs))
    if (answer !== undefined) return answer
    throw failedCall(new RpcFailure(RPC_CODES.threw, 'health answered no status'), this.#name('health'))
  }

  async configure(change: ConfigChange, timeoutMs: number): Promise<ConfigureAnswer> {
    return (await this.#ask('configure', change, timeoutMs)) === 'applied' ? 'applied' : 'needs-reload'
  }

  async snapshot(timeoutMs: number): Promise<unknown> {
    return await this.#ask('snapshot', {}, timeoutMs)
  }

  halt(stopMs: number): Promise<void> {
    this.#halting ??= this.#halt(stopMs)
    return this.#halting
  }

  kill(because: string): void {
    this.#because ??= { how: 'killed', because }
    this.#host.signal('SIGKILL')
  }

  suspect(missingMs: number): void {
    this.#order.listener.suspect(missingMs)
  }

  recovered(): void {
    this.#order.listener.recovered()
  }

  hung(missingMs: number): void {
    this.#because ??= { how: 'hung', missingMs }
    this.#host.signal('SIGKILL')
  }

  /** Ask, wait, TERM, wait, KILL, and still wait for the exit. */
  async #halt(stopMs: number): Promise<void> {
    if (this.#host.alive) this.#because ??= { how: 'halted' }
    const stopped = await this.#host.peer.request('stop', {}, stopMs).then(
      () => true,
      // It threw, is silent or gone: the ladder goes on all the same, and what it threw is in its log.
      (error: unknown) => this.#lament(error),
    )
    if (stopped) {
      this.#host.peer.end()
      if (await this.#goneWithin(PATIENCE_MS)) return
    }
    this.#host.signal('SIGTERM')
    if (await this.#goneWithin(PATIENCE_MS)) return
    this.#host.signal('SIGKILL')
    await this.gone
  }

  #lament(error: unknown): boolean {
    if (!(error instanceof RpcFailure)) return false
    const { stack } = thrownOf(error)
    this.#order.listener.log({ level: 'error', message: `stop threw: ${error.message}`, fields: { stack } })
    return true
  }

  async #goneWithin(waitMs: number): Promise<boolean> {
    return await new Promise((resolve) => {
      const timer = this.#clock.after(waitMs, () => resolve(false))
      void this.gone.then(() => {
        timer.cancel()
        resolve(true)
      })
    })
  }

  async #ask(
    method: 'health' | 'configure' | 'snapshot',
    params: object,
    timeoutMs: number,
  ): Promise<unknown> {
    return await askModule(this.#host.peer, method, params, timeoutMs, this.#order.moduleId)
  }

  #name(action: string): { module: string; action: string } {
    return { module: this.#order.moduleId, action }
  }

  #hear(method: string, params: unknown, bytes: number): void {
    const { listener } = this.#order
    switch (method) {
      case 'heartbeat':
        return this.#take(method, readHeartbeat(params), (heartbeat) => {
          this.#stats.heartbeat = heartbeat
          this.#watch.heard(this)
        })
      case 'log':
        return this.#take(method, readLog(params), (line) => {
          if (bytes > LOG_BYTES_MAX)
            return this.#host.log({ ...line, message: line.message.slice(0, 1_000), fields: {} })
          const { stack, uncaught } = (line.fields ?? {}) as { stack?: unknown; uncaught?: unknown }
          if (uncaught === true) this.#stack = String(stack)
          this.#host.log(line)
        })
      case 'metrics':
        return this.#take(method, readMetrics(params), (metrics) => listener.metrics(metrics))
      case 'notready':
        return this.#take(method, readNotReady(params), (said) =>
          listener.notReady(said.reason, said.retry_in_ms),
        )
      case 'ready':
        return listener.ready()
      case 'progress':
        return this.#take(method, readProgress(params), (said) => {
          // One for a call that has ended crossed its answer on the way.
          this.#calls.get(said.id)?.progress?.(said.fraction, said.note)
        })
      default:
        // A newer program may say more than this daemon knows.
        return
    }
  }

  #take<Params>(method: string, params: Params | undefined, use: (params: Params) => void): void {
    if (params === undefined) this.#violate(`${method} of a wrong shape`)
    else use(params)
  }

  async #serve(method: string, params: unknown): Promise<unknown> {
    try {
      if (method === 'command') return await this.#command(params)
      if (method === 'artifact') return await this.#artifact(params)
    } catch (error) {
      if (!(error instanceof NexusError)) throw error
      throw new RpcFailure(RPC_CODES.refused, error.message, { code: error.code, remedy: error.remedy })
    }
    throw new RpcFailure(-32601, `no method ${method}`)
  }

  async #command(params: unknown): Promise<unknown> {
    const asked = readCommand(params)
    if (asked === undefined) throw new RpcFailure(-32602, 'command of a wrong shape')
    const { moduleId, permissions, listener } = this.#order
    if (!permissions.commands.includes(asked.name)) {
      const permission = `permissions.commands ${asked.name}`
      throw new NexusError('PERMISSION_DENIED', { principal: `module:${moduleId}`, permission })
    }
    return await listener.command(asked.name, asked.params)
  }

  async #artifact(params: unknown): Promise<unknown> {
    const artifact = readArtifact(params)
    if (artifact === undefined) throw new RpcFailure(-32602, 'artifact of a wrong shape, or too large')
    const call = this.#calls.get(artifact.call)
    if (call === undefined) throw new RpcFailure(-32602, 'the call that this artifact belongs to has ended')
    return await call.artifact(artifact.name, artifact.media_type, artifact.bytes)
  }

  #violate(reason: string): void {
    const failure = new NexusError('HOST_PROTOCOL', { module: this.#order.moduleId, reason })
    if (this.#because === undefined) this.#order.listener.log({ level: 'error', message: failure.message })
    this.kill(failure.message)
  }

  #translate(error: unknown, phase: 'import' | 'start', departure: Departure | undefined): NexusError {
    if (error instanceof RpcFailure) {
      const { stack, config_error } = thrownOf(error)
      const unloadable = error.code === RPC_CODES.unloadable ? 1 : 0
      return this.#startFailure(phase, error.message, { stack, config_error, unloadable }, error)
    }
    if (!(error instanceof RpcBroken)) throw error
    if (error.how === 'expired') {
      const reason = `${phase} took longer than ${this.#order.timeouts.start_ms} ms`
      return this.#startFailure('deadline', reason, {}, error)
    }
    const facts = departure?.how === 'exited' ? { exit_code: departure.exitCode ?? -1 } : {}
    return this.#startFailure(
      phase,
      `its process ended: ${sentence(departure)}`,
      { stack: this.#stack, ...facts },
      error,
    )
  }

  #startFailure(phase: string, reason: string, facts: object = {}, cause?: Error): NexusError {
    return new NexusError(
      'MODULE_START_FAILED',
      { module: this.#order.moduleId, phase, reason, ...facts },
      { cause },
    )
  }
}

function initial(order: SpawnOrder): InitializeParams {
  const reads = [...order.permissions.fs_read, ...order.permissions.fs_write]
  return {
    module_id: order.moduleId,
    instance: order.instance,
    generation: order.generation,
    entry: order.entry,
    config: order.config,
    data_dir: order.dataDir,
    roots: reads.includes('$ROOTS') ? order.roots : [],
    ...(reads.includes('$RECORDS') ? { records: order.records } : {}),
    ...(order.inherited === undefined ? {} : { inherited: order.inherited }),
    commands: order.permissions.commands,
    heartbeat_ms: heartbeatEveryMs(order.limits.heartbeat_suspect_ms),
  }
}

function sentence(departure: Departure | undefined): string {
  switch (departure?.how) {
    case 'exited':
      return departure.signal === null ? `exit code ${departure.exitCode}` : `signal ${departure.signal}`
    case 'hung':
      return `no heartbeat for ${departure.missingMs} ms`
    case 'killed':
      return departure.because
    default:
      return 'it was halted'
  }
}

/** Between TERM and KILL, and after an orderly stop. */
const PATIENCE_MS = 500
/** The runner cuts shorter; this is for programs that do not. */
const LOG_BYTES_MAX = 65_536
