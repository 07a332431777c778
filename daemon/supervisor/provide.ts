import type { Generation } from '../catalog/port.ts'
import type { Manifest } from '../contracts/manifest.ts'
import type { Instance, InstanceListener, SpawnProfile } from '../host/port.ts'
import type { SupervisorEnvironment } from './port.ts'

export interface Provision {
  readonly env: SupervisorEnvironment
  readonly generation: Generation
  readonly config: Readonly<Record<string, unknown>>
  readonly instance: string
  readonly listener: InstanceListener
  readonly inherited: unknown
}

/** Gives one instance a host, its folder and its settings. */
export async function provideInstance(provision: Provision): Promise<Instance> {
  const { env, generation, config, instance, listener, inherited } = provision
  const { manifest } = generation
  const paths = env.ports.paths(manifest.id, instance)
  return env.hosts.spawn({
    ...profileOf(manifest, env),
    dataDir: await env.makeDataDir(manifest.id),
    instance,
    generation: generation.id,
    dir: generation.dir,
    entry: generation.entry,
    command: manifest.command ?? [],
    actions: Object.keys(manifest.actions),
    listen: paths,
    config,
    timeouts: manifest.timeouts,
    listener,
    ...(inherited === undefined ? {} : { inherited }),
  })
}

/** What a host of this module is started with. */
export function profileOf(manifest: Manifest, env: SupervisorEnvironment): SpawnProfile {
  return {
    moduleId: manifest.id,
    runtime: manifest.runtime,
    sandbox: manifest.sandbox,
    permissions: manifest.permissions,
    limits: manifest.limits,
    dataDir: env.dataDirOf(manifest.id),
    roots: env.roots,
    records: env.records,
  }
}
