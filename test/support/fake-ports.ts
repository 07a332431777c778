import { NexusError } from '../../daemon/contracts/failure.ts'
import type { PortKeeper } from '../../daemon/listen/port.ts'

/** Writes down what it is asked for; a test decides which ports are taken and when a drain is over. */
export class FakePorts implements PortKeeper {
  /** In the order of the calls: `hold 80`, `direct a/one#1`, … */
  readonly said: string[] = []
  /** Ports that somebody else has. */
  readonly taken = new Set<number>()
  /** Called for each drain; it lasts as long as what this returns. */
  drained: (instance: string) => Promise<void> = async () => {}
  readonly #held = new Map<string, readonly { name: string; host: string; port: number }[]>()

  async hold(
    moduleId: string,
    listen: readonly { name: string; host: string; port: number }[],
  ): Promise<void> {
    this.said.push(`hold ${listen.map(({ port }) => port).join(' ')}`)
    const held = listen.find(({ port }) => this.taken.has(port))
    if (held !== undefined) {
      throw new NexusError('PORT_UNAVAILABLE', { host: held.host, port: held.port, reason: 'it is in use' })
    }
    this.#held.set(moduleId, listen)
  }

  paths(moduleId: string, instance: string): Readonly<Record<string, string>> {
    const listen = this.#held.get(moduleId) ?? []
    return Object.fromEntries(listen.map(({ name }) => [name, `/run/${instance}/${name}`]))
  }

  direct(_: string, instances: readonly string[]): void {
    this.said.push(`direct ${instances.join(' ')}`.trim())
  }

  drain(_: string, instance: string): Promise<void> {
    this.said.push(`drain ${instance}`)
    return this.drained(instance)
  }

  forget(_: string, instance: string): void {
    this.said.push(`forget ${instance}`)
  }

  async release(moduleId: string): Promise<void> {
    this.said.push('release')
    this.#held.delete(moduleId)
  }

  status(): readonly [] {
    return []
  }

  all(): readonly [] {
    return []
  }

  async close(): Promise<void> {}

  /** What was said since the last time. */
  news(): string[] {
    return this.said.splice(0)
  }
}
