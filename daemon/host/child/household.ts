import type { ActionParams, InitializeAnswer, InitializeParams, LogParams } from '../../contracts/wire.ts'
import type { Clock } from '../../kit/clock.ts'
import { RpcFailure, type RpcPeer } from '../rpc.ts'
import type { RpcId } from '../rpc-message.ts'
import { captureOutput } from './capture.ts'
import { Resident } from './resident.ts'
import { describe } from './thrown.ts'
import { voiceFor } from './voice.ts'
import { clearTimers, createOwner, type Owner, Whose } from './whose.ts'

/** A module in a process that others share, and the name under which its code runs. */
interface Tenant {
  readonly owner: Owner
  /** Present once its entry was imported. */
  resident: Resident | undefined
}

/** Who lives in this process: one module, or several that share it. Takes every request of the daemon to whom it concerns. */
export class Household {
  readonly #peer: RpcPeer
  readonly #clock: Clock
  readonly #tenants = new Map<string, Tenant>()
  #only: Resident | undefined
  #whose: Whose | undefined
  #state: 'empty' | 'single' | 'shared' = 'empty'
  #isOver = false

  constructor(peer: RpcPeer, clock: Clock) {
    this.#peer = peer
    this.#clock = clock
  }

  /** @throws RpcFailure, which is the answer. */
  async answer(method: string, params: unknown, id: RpcId, signal: AbortSignal): Promise<unknown> {
    if (method === 'initialize') return await this.#initialize(params as InitializeParams)
    if (this.#state !== 'shared') {
      if (this.#only === undefined) throw new RpcFailure(-32600, `${method} before initialize`)
      return await ask(this.#only, method, params, id, signal)
    }
    const { instance, ...rest } = params as { instance?: unknown }
    const tenant = this.#tenants.get(String(instance))
    if (tenant === undefined)
      throw new RpcFailure(-32600, `${method} for ${instance}, who does not live here`)
    if (method === 'stop') return await this.#leave(tenant)
    const { resident } = tenant
    if (resident === undefined) throw new RpcFailure(-32600, `${method} before initialize was done`)
    return await this.#as(tenant, () => ask(resident, method, rest, id, signal))
  }

  /** What nobody caught: from whom it came, as far as that can be told, and what it says. */
  lastWords(thrown: unknown, promise?: object): LogParams & { readonly instance?: string } {
    const { name, message, stack } = describe(thrown)
    const owner = (promise && this.#whose?.of(promise)) ?? this.#whose?.now()
    this.#isOver = true
    const said = { level: 'error', message: `uncaught ${name}: ${message}` } as const
    return { ...said, fields: { stack, uncaught: true }, ...(owner && { instance: owner.instance }) }
  }

  async #initialize(params: InitializeParams): Promise<InitializeAnswer> {
    if (params.seat !== undefined && this.#state !== 'single') return await this.#admit(params, params.seat)
    if (this.#state !== 'empty') throw new RpcFailure(-32600, 'initialize twice')
    this.#state = 'single'
    this.#only = await Resident.load(this.#peer, this.#clock, params, 'alone')
    return this.#only.answer
  }

  async #admit(params: InitializeParams, seat: number): Promise<InitializeAnswer> {
    const { instance } = params
    if (this.#tenants.has(instance)) throw new RpcFailure(-32600, `initialize of ${instance} twice`)
    if (this.#state === 'empty') this.#share()
    const tenant: Tenant = { owner: createOwner(instance, seat), resident: undefined }
    this.#tenants.set(instance, tenant)
    try {
      const resident = await this.#as(tenant, () =>
        Resident.load(voiceFor(this.#peer, instance), this.#clock, params, 'beside others'),
      )
      tenant.resident = resident
      return resident.answer
    } catch (error) {
      this.#forget(tenant)
      throw error
    }
  }

  /** From now on what happens here has an owner. */
  #share(): void {
    this.#state = 'shared'
    const whose = new Whose()
    this.#whose = whose
    captureOutput(whose, ({ instance }, stream, message) => {
      const level = stream === 'stdout' ? 'info' : 'warn'
      this.#peer.notify('log', { instance, level, message, stream } satisfies LogParams & {
        instance: string
      })
    })
    process.on('exit', (code) => this.#confess(code))
  }

  /** A module calls `process.exit`: the daemon should know whom the others have to thank. */
  #confess(code: number): void {
    const owner = this.#whose?.now()
    if (owner === undefined || this.#isOver) return
    const { stack } = describe(new Error(`process.exit(${code}) was called`))
    const fields = { stack, uncaught: true }
    const { instance } = owner
    this.#peer.notify('log', { instance, level: 'error', message: `it called process.exit(${code})`, fields })
  }

  async #leave(tenant: Tenant): Promise<void> {
    try {
      await this.#as(tenant, async () => await tenant.resident?.stop())
    } finally {
      this.#forget(tenant)
    }
  }

  /** Code cannot be unloaded; what it left to come is taken away. */
  #forget(tenant: Tenant): void {
    this.#tenants.delete(tenant.owner.instance)
    clearTimers(tenant.owner)
  }

  #as<Result>({ owner }: Tenant, run: () => Result): Result {
    return this.#whose === undefined ? run() : this.#whose.as(owner, run)
  }
}

async function ask(
  resident: Resident,
  method: string,
  params: unknown,
  id: RpcId,
  signal: AbortSignal,
): Promise<unknown> {
  switch (method) {
    case 'start':
      return await resident.start()
    case 'stop':
      return await resident.stop()
    case 'health':
      return await resident.health()
    case 'configure':
      return await resident.configure(params)
    case 'snapshot':
      return await resident.snapshot()
    case 'action':
      return await resident.act(params as ActionParams, id, signal)
    default:
      throw new RpcFailure(-32601, `no method ${method}`)
  }
}
