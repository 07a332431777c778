import type { Generation } from '../catalog/port.ts'
import type { InstanceListener } from '../host/port.ts'
import type { SupervisorEnvironment } from './port.ts'
import type { ModulePorts } from './ports.ts'
import { provideInstance } from './provide.ts'
import type { ModuleMemory } from './remembered.ts'
import { ReplicaSet, type ReplicaSetEvents } from './replica-set.ts'
import { type SelfTestRun, selfTest } from './self-test.ts'
import { effectiveConfig } from './settings.ts'
import { wasLetGo } from './start-failure.ts'

export interface AssemblyOptions {
  readonly moduleId: string
  readonly env: SupervisorEnvironment
  memory(): ModuleMemory
  readonly events: ReplicaSetEvents
  readonly ports: ModulePorts
  /** Resolves when a host may be started. */
  turn(): Promise<void>
  /** A generation passed its self-test for the first time. Calls wait until this resolves: it is their evidence. */
  proven(generation: Generation, runs: readonly SelfTestRun[]): Promise<void>
}

/** Builds what runs of one module: chooses the generation, forms its set, brings replicas up one by one. */
export class Assembly {
  readonly #options: AssemblyOptions
  #instances = 0

  constructor(options: AssemblyOptions) {
    this.#options = options
  }

  /** What the folder holds, unless that was reverted before: then the last known good. */
  async choose(): Promise<Generation> {
    const { moduleId, env, memory } = this.#options
    const { lastGood, refused } = memory()
    const staged = await env.catalog.stage(moduleId)
    if (lastGood === undefined || !refused.some(({ generation }) => generation === staged.id)) return staged
    return env.catalog.kept(moduleId, lastGood).catch(() => staged)
  }

  /**
   * An empty set of this generation with the settings in force, or with those that are tried out.
   *
   * @throws NexusError `CONFIG_VALUE_INVALID`.
   */
  form(generation: Generation, configured = this.#options.memory().config): ReplicaSet {
    const { moduleId, env, events, ports, turn } = this.#options
    const config = effectiveConfig(generation.manifest, env.overrides[moduleId]?.config ?? {}, configured)
    return new ReplicaSet({
      generation,
      config,
      clock: env.clock,
      events,
      doors: ports,
      turn,
      // Asked for each: the settings of a set may change while it runs.
      spawn: (replica, listener, inherited) =>
        provideInstance({
          env,
          generation,
          config: replica.set.config,
          instance: replica.id,
          listener,
          inherited,
        }),
    })
  }

  /**
   * Brings up what is missing of `wanted`, the first of them with the first of what is inherited; resolves with the first failure when some came up all the same.
   *
   * @throws NexusError `MODULE_START_FAILED` when nothing came up.
   */
  async complete(set: ReplicaSet, wanted: number, inherited: readonly unknown[] = []): Promise<unknown> {
    const { closings } = set
    if (wanted > set.staying.length) await this.#options.ports.hold(set)
    set.assertOpen(closings)
    const absent = Math.max(0, wanted - set.staying.length)
    const ends = await Promise.allSettled(
      Array.from({ length: absent }, (_, place) => this.#bringOne(set, inherited[place])),
    )
    const rejected = ends.filter((end) => end.status === 'rejected')
    // Those that are no longer wanted have not failed.
    const failed =
      rejected.find(({ reason }) => !wasLetGo(reason)) ?? (set.staying.length === 0 ? rejected[0] : undefined)
    if (failed !== undefined && set.staying.length === 0) throw failed.reason
    return failed?.reason
  }

  async #bringOne(set: ReplicaSet, inherited: unknown): Promise<void> {
    const { moduleId, env, memory, proven } = this.#options
    this.#instances += 1
    const instance = `${moduleId}#${this.#instances}`
    const listener: Pick<InstanceListener, 'log' | 'metrics' | 'command'> = {
      log: (line) => env.said(moduleId, instance, line),
      metrics: (params) => env.measured(moduleId, params),
      command: (name, params) => env.command(moduleId, name, params),
    }
    await set.bringUp(instance, listener, {
      inherited,
      prove: async (running) => {
        const { generation } = set
        if (memory().tested.includes(generation.id)) return
        const runs = await selfTest(generation.manifest, running, env.clock)
        if (runs.length > 0) await proven(generation, runs)
      },
    })
  }
}
