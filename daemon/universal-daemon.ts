import { isMainThread } from 'node:worker_threads'
import { compose, type Parts } from './compose.ts'
import { loadSettings } from './config-load.ts'
import type { Settings } from './contracts/config.ts'
import { NexusError } from './contracts/failure.ts'
import type { Permission, Principal, Role } from './contracts/roles.ts'
import type { CriticalModules, DaemonStatus, Liveness, ModuleStatus, Readiness } from './contracts/status.ts'
import { faceOf } from './face.ts'
import { systemChance } from './kit/chance.ts'
import { sleep, systemClock } from './kit/clock.ts'
import { StopStack } from './kit/stop-stack.ts'
import { VERSION } from './product.ts'
import type { Authority } from './security/authenticate.ts'
import { DEV_BANNER, NO_DEV_MODE, startDevMode } from './security/dev-mode.ts'
import { FailureLimit } from './security/failure-limit.ts'
import { makeLocalToken } from './security/local-token.ts'
import { openOperatorKey } from './security/operator-key.ts'
import { prepareDataFolder } from './storage/data-folder.ts'
import { holdFolder } from './storage/lock.ts'
import { nodeDisk } from './storage/node-disk.ts'
import { openHttp } from './surfaces/http/http.ts'
import type { Daemon } from './surfaces/http/port.ts'
import { openMetrics } from './surfaces/metrics/metrics.ts'
import { createLog, type RootLog } from './telemetry/log.ts'

/** Who an embedder acts as, and what that permits; like a principal of the configuration. */
export class SecurityContext {
  readonly principal: string
  readonly roles: readonly Role[]
  readonly permissions: readonly Permission[]

  constructor(context: {
    principal: string
    roles?: readonly Role[]
    permissions?: readonly Permission[]
  }) {
    this.principal = context.principal
    this.roles = context.roles ?? []
    this.permissions = context.permissions ?? []
  }
}

export interface UniversalDaemonOptions {
  /** Who commands given in this process come from; the administrator when absent, since it is the same process. */
  readonly securityContext?: SecurityContext
  /** Loaded from the environment and `nexus.yaml` when absent. */
  readonly settings?: Settings
  /** Accept the published key, on loopback only. */
  readonly dev?: boolean
  /** Start no module. */
  readonly safe?: boolean
  readonly log?: RootLog
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** Where a running daemon listens. */
export interface Listening {
  readonly host: string
  readonly port: number
  readonly metricsHost: string
  readonly metricsPort: number
  readonly socket: string
}

interface Running {
  readonly parts: Parts
  readonly face: Daemon
  readonly settings: Settings
  readonly log: RootLog
  readonly socket: string
}

/**
 * A whole daemon in this process: `initialize`, `discoverAndLoadModules`, `start`, `run`, `stop`.
 *
 * `nexusd` is written with it. It must live on the main thread: the kernel ends module hosts with the thread that
 * started them.
 */
export class UniversalDaemon {
  readonly #options: UniversalDaemonOptions
  readonly #stops = new StopStack()
  readonly #startedAtMs = systemClock.elapsed()
  readonly #ended = Promise.withResolvers<NexusError | undefined>()
  #running: Running | undefined
  #listening: Listening | undefined
  #startedUp = false
  #stopping: Promise<void> | undefined
  #closeDoor: ((graceMs: number) => Promise<void>) | undefined
  #hurry: (() => void) | undefined

  constructor(options: UniversalDaemonOptions = {}) {
    this.#options = options
  }

  /**
   * Takes the data folder and restores what is remembered. Nothing listens, and no module runs.
   *
   * @throws NexusError with the exit code of a start that is not possible; nothing is held then.
   */
  async initialize(): Promise<void> {
    if (!isMainThread) throw new Error('a daemon must live on the main thread')
    try {
      await this.#initialize()
    } catch (error) {
      await this.#stops.stop()
      throw error
    }
  }

  /** Looks for modules in these folders, or in those of the settings. Returns the ids found. */
  async discoverAndLoadModules(dirs?: readonly string[]): Promise<readonly string[]> {
    const { parts, settings } = this.#assertRunning()
    await parts.openModules(dirs ?? settings.modules_dirs)
    return parts.supervisor.discover()
  }

  /** Listens, starts the modules, and takes up the missions where they were. Resolves when every module has settled. */
  async start(): Promise<Listening> {
    const { parts, settings, log } = this.#assertRunning()
    const listening = await this.#open()
    parts.insight.begin()
    parts.telemetry.start()
    this.#stops.push('telemetry timer', () => parts.telemetry.stop())
    await parts.gate.recover()
    await parts.memory.append({
      type: 'daemon.started',
      actor: { kind: 'daemon', name: 'nexusd' },
      d: { version: VERSION, node: process.version, pid: process.pid, safe: this.#options.safe === true },
    })
    log.info('listening', {
      ...listening,
      version: VERSION,
      node: process.version,
      data_dir: settings.data_dir,
    })
    const startedUp = (): void => {
      this.#startedUp = true
    }
    if (this.#options.safe === true) startedUp()
    const modules = this.#options.safe === true ? undefined : parts.supervisor.start(startedUp)
    await parts.missions.recover()
    await parts.maintenance.recover()
    await modules
    log.info('started', { modules: parts.supervisor.units.length })
    return listening
  }

  /** Resolves when the daemon has stopped; with the failure when it could not go on. */
  run(): Promise<NexusError | undefined> {
    return this.#ended.promise
  }

  /**
   * Drains and stops everything, in order. A second call while it drains skips the rest of the draining.
   *
   * @param because - For the journal: a signal, or whoever asked.
   */
  stop(because = 'it was asked to'): Promise<void> {
    if (this.#stopping !== undefined) this.#hurry?.()
    this.#stopping ??= this.#stop(because, undefined)
    return this.#stopping
  }

  /** Where it listens, once started. */
  get listening(): Listening | undefined {
    return this.#listening
  }

  // --- what the AEON interface asks when it lives in the same process ---

  status(moduleId?: string): DaemonStatus | ModuleStatus {
    const { face } = this.#assertRunning()
    return moduleId === undefined ? face.status(this.#principal()) : face.moduleStatus(moduleId)
  }

  liveness(): Liveness {
    return this.#assertRunning().face.live()
  }

  readiness(): Readiness {
    return this.#assertRunning().face.readiness()
  }

  critical(): CriticalModules {
    return this.#assertRunning().face.critical()
  }

  /** @throws NexusError of the refusal, or of the effect. An `operator_key` among the params must be the right one. */
  async command(name: string, params: Readonly<Record<string, unknown>> = {}): Promise<object> {
    const { face, parts } = this.#assertRunning()
    const { operator_key: key } = params
    const shown = typeof key === 'string' ? { bodyKey: key } : {}
    const principal = await face.authenticate({ known: this.#principal(), surface: 'socket', ...shown })
    return parts.gate.command(principal, name, params)
  }

  // --- inside ---

  async #initialize(): Promise<void> {
    const { cwd = process.cwd(), env = process.env, dev = false } = this.#options
    const clock = systemClock
    const chance = systemChance
    const settings = this.#options.settings ?? (await loadSettings({ env, flags: {}, cwd })).settings
    const log = this.#options.log ?? createLog({ clock, level: settings.log.level })
    const hosts = [settings.http.host, settings.metrics.host]
    const devMode = dev ? startDevMode({ hosts, env, pid: process.pid }, clock) : NO_DEV_MODE
    if (dev) log.warn(DEV_BANNER)

    const paths = await prepareDataFolder(nodeDisk, settings.data_dir)
    const lock = holdFolder(settings.data_dir)
    this.#stops.push('data folder', () => lock.release())
    const { key, created } = await openOperatorKey(paths.operatorKey, chance)
    if (created) log.info('a new operator key was made', { file: paths.operatorKey })
    const localToken = await makeLocalToken(paths.localToken, chance)
    this.#stops.push('local token', () => localToken.close())

    const authority: Authority = {
      operatorKey: key,
      devMode,
      localToken,
      tokens: settings.tokens,
      failures: new FailureLimit(clock),
    }
    const parts = await compose({
      clock,
      chance,
      log,
      settings,
      paths,
      env,
      cwd,
      stops: this.#stops,
      safe: this.#options.safe === true,
      publishedKeyActive: () => devMode.active,
      fatal: (error) => this.#fatal(error),
    })
    const face = faceOf(parts, {
      clock,
      version: VERSION,
      authority,
      startedAtMs: this.#startedAtMs,
      unhealthyRatioMax: settings.readiness.max_unhealthy_ratio,
      safe: this.#options.safe === true,
      startedUp: () => this.#startedUp,
      draining: () => this.#stopping !== undefined,
    })
    this.#running = { parts, face, settings, log, socket: paths.socket }
  }

  async #open(): Promise<Listening> {
    const { face, parts, settings, log, socket } = this.#assertRunning()
    const clock = systemClock
    const http = await openHttp(face, {
      clock,
      chance: systemChance,
      host: settings.http.host,
      port: settings.http.port,
      socketPath: socket,
      answered: (answer) => parts.meters.answered(answer),
      log,
    })
    this.#stops.push('http', () => http.close(0))
    const metrics = await openMetrics(face, {
      clock,
      host: settings.metrics.host,
      port: settings.metrics.port,
      complain: (cause) => log.error('a scrape failed', { err: cause }),
    })
    this.#stops.push('metrics', () => metrics.close(0))
    // The probes answer "not ready" while missions drain; that door closes with the rest.
    this.#closeDoor = (graceMs) => http.close(graceMs)
    this.#listening = {
      host: settings.http.host,
      port: http.port,
      metricsHost: settings.metrics.host,
      metricsPort: metrics.port,
      socket,
    }
    return this.#listening
  }

  async #stop(because: string, failure: NexusError | undefined): Promise<void> {
    const running = this.#running
    try {
      if (running !== undefined && failure === undefined) await this.#drain(running, because)
      else if (running !== undefined) await running.parts.supervisor.stop(because)
      const stopped = this.#stops.stop()
      await (failure === undefined ? stopped : Promise.race([stopped, sleep(systemClock, BROKEN_STOP_MS)]))
    } catch (error) {
      running?.log.error('the stop was not clean', { err: error })
    }
    running?.log.info('stopped', { because })
    this.#ended.resolve(failure)
  }

  async #drain({ parts, settings, log }: Running, because: string): Promise<void> {
    log.info('stopping', { because })
    const drainMs = settings.shutdown.drain_ms
    await parts.memory.append({
      type: 'daemon.stopping',
      actor: { kind: 'daemon', name: 'nexusd' },
      d: { reason: because },
    })
    const hurried = new Promise<void>((resolve) => {
      this.#hurry = () => {
        log.warn('the rest of the draining is skipped')
        void parts.missions.drain(0).finally(resolve)
      }
    })
    await this.#closeDoor?.(DOOR_GRACE_MS)
    await Promise.race([parts.missions.drain(drainMs), hurried])
    await parts.gate.close()
    await parts.supervisor.stop(because)
  }

  /** The daemon must not limp on: what is durable is safe, and the next start goes on from there. */
  #fatal(error: unknown): void {
    const failure =
      error instanceof NexusError ? error : new NexusError('INTERNAL', { reference: 'bug' }, { cause: error })
    this.#running?.log.error(failure.message, { err: error, code: failure.code, remedy: failure.remedy })
    this.#stopping ??= this.#stop(failure.message, failure)
  }

  #principal(): Principal {
    const { securityContext: context } = this.#options
    if (context === undefined) return { kind: 'local', name: 'embedder', roles: ['admin'], permissions: [] }
    const { principal, roles, permissions } = context
    return { kind: 'token', name: principal, roles, permissions }
  }

  #assertRunning(): Running {
    if (this.#running === undefined) throw new Error('call initialize() first')
    return this.#running
  }
}

/** A daemon that cannot go on, because its disk is broken, say, does not wait for that disk for ever. */
const BROKEN_STOP_MS = 10_000
/** Requests in flight are answered within this time, or cut. */
const DOOR_GRACE_MS = 2_000
