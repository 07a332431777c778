import { NexusError } from '../../daemon/contracts/failure.ts'
import type { ActionSpecification } from '../../daemon/contracts/manifest.ts'
import type { ActionAnswer, ActionOrder, ModuleCalls } from '../../daemon/missions/port.ts'
import { type Model, type ModelMission, must, Violation } from './model.ts'
import type { SimClock } from './sim-clock.ts'

/** How a module may answer a call. */
export const ANSWERS = ['ok', 'throws', 'dies before', 'dies after', 'expires'] as const
export type Answer = (typeof ANSWERS)[number]

interface Call {
  readonly order: ActionOrder
  readonly epoch: number
  readonly name: string
  readonly sinceMs: number
  abortedAtMs: number | undefined
  resolve(answer: ActionAnswer): void
  reject(error: NexusError): void
}

/** After this the instance is killed: its action can do nothing more, but what it said may still be on its way. */
const KILLED_AFTER_MS = 3_000

/**
 * The modules of one life. A call hangs until the scheduler has it answered; what it does to the world is counted in
 * the model, which outlives the daemon.
 */
export class Modules implements ModuleCalls {
  readonly #model: Model
  readonly #clock: SimClock
  readonly calls: Call[] = []
  lateAnswers = 0

  readonly #complain: (violation: unknown) => void

  /** @param complain - Told of a call that must not be: whoever calls might keep the error to itself. */
  constructor(model: Model, clock: SimClock, complain: (violation: unknown) => void) {
    this.#complain = complain
    this.#model = model
    this.#clock = clock
  }

  action(moduleId: string, action: string): ActionSpecification | undefined {
    if (moduleId !== 'sim/module') return undefined
    if (action !== 'again' && action !== 'once' && action !== 'large') return undefined
    return { description: action, timeout_ms: 30_000, idempotent: action !== 'once', concurrency: 8 }
  }

  module(id: string): { readonly known: boolean; readonly locked: boolean; readonly callable: boolean } {
    return { known: id === 'sim/module', locked: false, callable: true }
  }

  planners(): readonly string[] {
    return []
  }

  call(order: ActionOrder): Promise<ActionAnswer> {
    try {
      return this.#call(order)
    } catch (error) {
      this.#complain(error)
      throw error
    }
  }

  #call(order: ActionOrder): Promise<ActionAnswer> {
    const { mission: context } = order
    must(context !== undefined, 'a call says for which mission it is made')
    const { mission_id, epoch, step } = context
    const name = `${step} of ${mission_id}`
    const mission = this.#model.get(mission_id)
    must(
      mission.status === 'running',
      `${name} is called while the mission runs, and it is ${mission.status}`,
    )
    must(mission.epoch === epoch, `${name} is called in attempt ${mission.epoch}, not ${epoch}`)
    const { state, idempotent = false, tries = 0 } = mission.steps.get(step) ?? {}
    // What does no harm twice need not wait for the record that it is tried once more.
    const isKnown = state === 'started' || (state === 'open' && idempotent && tries > 0)
    must(isKnown, `the start of ${name} is durable before its call`)
    for (const other of this.calls) {
      if (other.order.mission?.mission_id !== mission_id || this.isLate(other)) continue
      must(other.epoch === epoch, `${name} waits until attempt ${other.epoch} is over`)
      must(other.order.mission.step !== step, `${name} is called once at a time`)
    }
    this.#model.checks += 1
    return new Promise((resolve, reject) => {
      const sinceMs = this.#clock.elapsed()
      const call: Call = { order, epoch, name, sinceMs, abortedAtMs: undefined, resolve, reject }
      order.signal?.addEventListener('abort', () => {
        call.abortedAtMs = this.#clock.elapsed()
        const isBeside = String(order.signal?.reason).includes('beside')
        if (isBeside && !idempotent)
          this.#complain(new Violation(`${name} is let finish, whatever fails beside it`))
      })
      this.calls.push(call)
    })
  }

  /** Calls of this mission that would still do something, and nobody told them to stop. */
  isAtWork(id: string): boolean {
    return this.calls.some(({ order, abortedAtMs }) => {
      return order.mission?.mission_id === id && abortedAtMs === undefined
    })
  }

  /** A call that was given up on, while its mission is tried again. */
  get overtaken(): Call | undefined {
    return this.calls.find((call) => {
      const { status, epoch } = this.#model.get(call.order.mission?.mission_id ?? '')
      return this.isLate(call) && status === 'running' && epoch > call.epoch
    })
  }

  /** Another step of its mission is at work. */
  hasOneBeside({ order, name }: Call): boolean {
    return this.calls.some(({ order: other, name: otherName, abortedAtMs }) => {
      const isBeside = other.mission?.mission_id === order.mission?.mission_id && otherName !== name
      return isBeside && abortedAtMs === undefined
    })
  }

  answer(call: Call, answer: Answer): void {
    this.calls.splice(this.calls.indexOf(call), 1)
    const isLate = this.isLate(call)
    if (isLate) this.lateAnswers += 1
    const { moduleId, action, mission: context } = call.order
    const facts = { module: moduleId, action, reason: answer, timeout_ms: 30_000 }
    if (!isLate && (answer === 'ok' || answer === 'dies after' || answer === 'expires')) this.#effect(call)
    if (answer === 'ok') {
      // Of many missions the same, so that files have several owners.
      const large = { text: LARGE, of: (context?.mission_id.charCodeAt(20) ?? 0) & 1 }
      const output = action === 'large' ? large : { from: context?.step }
      const durationMs = this.#clock.elapsed() - call.sinceMs
      const common = { instance: 'sim/module#1', generation: 'ab12cd34', durationMs, cpuMs: 1 }
      call.resolve({ output, artifacts: [], ...common })
    } else if (answer === 'throws') call.reject(new NexusError('ACTION_FAILED', facts))
    else if (answer === 'expires') call.reject(new NexusError('CALL_EXPIRED', facts))
    else call.reject(new NexusError('CALL_CUT', facts))
  }

  /** The daemon died, and its modules with it: some had just done their work. */
  die(had: (index: number) => boolean): void {
    for (const [index, call] of this.calls.entries()) if (!this.isLate(call) && had(index)) this.#effect(call)
    this.calls.length = 0
  }

  /** Whoever has used up its time has been told so. */
  checkTimes(): void {
    const nowMs = this.#clock.elapsed()
    for (const { order, epoch, abortedAtMs, name } of this.calls) {
      const mission = this.#model.get(order.mission?.mission_id ?? '')
      if (abortedAtMs !== undefined || mission.epoch !== epoch || mission.status !== 'running') continue
      const usedMs = mission.spentMs + nowMs - mission.claimedAtMs
      must(
        usedMs < mission.timeMaxMs + restsMs(mission),
        `${name} is told to stop after ${mission.timeMaxMs} ms, now ${usedMs}`,
      )
    }
  }

  /** It was given up on. */
  isLate({ abortedAtMs }: Call): boolean {
    return abortedAtMs !== undefined && this.#clock.elapsed() - abortedAtMs >= KILLED_AFTER_MS
  }

  #effect({ order, name }: Call): void {
    const step = this.#model.get(order.mission?.mission_id ?? '').steps.get(order.mission?.step ?? '')
    must(step !== undefined, `${name} is a step of its mission`)
    step.effects += 1
    const timesMax = 1 + step.allowances
    must(step.idempotent || step.effects <= timesMax, `${name} does its work ${timesMax} times at most`)
  }
}

/** What the waits between tries of this attempt can have taken at most: they are no execution time. */
function restsMs({ steps }: ModelMission): number {
  let tries = 0
  for (const step of steps.values()) if (step.triesMax > 1) tries += step.tries
  return tries * 400
}

/** More than a record holds. */
const LARGE = 'x'.repeat(9_000)
