import { NexusError } from '../contracts/failure.ts'
import type { PlanStep } from '../contracts/mission.ts'
import { sleep } from '../kit/clock.ts'
import { actionOf, isDone, type Mission, moduleOf, stepOf } from './mission.ts'
import { type Failure, failure } from './outcome.ts'
import { needsOf, type Standing, startable } from './plan-order.ts'
import type { Decided, ModuleCalls } from './port.ts'
import { failedStep, runStep, type StepEnd, type StepWorld, startOf } from './step.ts'
import type { WorkTime } from './work-time.ts'

/** How an attempt got on with its plan. */
export interface CourseEnd {
  /** Why the attempt failed; of several the one that no retry would help. */
  readonly failure: Failure | undefined
  /** Steps of which nobody knows whether they did their work. */
  readonly unknown: readonly { readonly step: string; readonly cause: string }[]
  /** Something is left to do. */
  readonly halted: boolean
}

export interface CourseWorld extends Omit<StepWorld, 'backOff' | 'attemptMs'> {
  readonly time: WorkTime
}

/** The starts that go on record with a claim: the next call then needs no sync of its own. */
export function firstStarts(
  mission: Pick<Mission, 'order' | 'steps' | 'spentMs'>,
  calls: Pick<ModuleCalls, 'action' | 'module'>,
): readonly Decided[] {
  const { plan, constraints } = mission.order
  if (plan.length > constraints.max_steps || mission.spentMs >= constraints.max_time_seconds * 1_000)
    return []
  const done = new Set(mission.steps.filter(isDone).map(({ id }) => id))
  const standing = {
    isDone: (id: string) => done.has(id),
    isTaken: () => false,
    live: () => 0,
    room: (uses: string) => roomOf(uses, calls),
    liveAll: 0,
  }
  return startable(plan, needsOf(plan), standing).map((step) => startOf(step, mission, calls))
}

/** Goes through the plan of a claimed mission, from the steps that are not done. @throws as `runStep`. */
export function runCourse(world: CourseWorld): Promise<CourseEnd> {
  const { pen, running, time } = world
  const { plan, constraints } = pen.mission.order
  if (plan.length > constraints.max_steps) {
    const facts = { steps: plan.length, max_steps: constraints.max_steps }
    const tooMany = failure(new NexusError('MAX_STEPS_EXCEEDED', facts), false)
    return Promise.resolve({ failure: tooMany, unknown: [], halted: false })
  }
  if (time.leftMs <= 0) running.stop({ kind: 'max_time' })
  return new Course(world).run()
}

/**
 * Steps whose needs are done run side by side. When one ends badly no other begins; those that may be called twice
 * are told to stop, and those that may not are let finish, since to stop one would leave its mission to an operator.
 */
class Course implements Standing {
  readonly #world: StepWorld
  readonly #time: WorkTime
  readonly #plan: readonly PlanStep[]
  readonly #needs: ReadonlyMap<string, readonly string[]>
  readonly #done: Set<string>
  /** What goes on, by its step. */
  readonly #live = new Map<string, string>()
  readonly #taken = new Set<string>()
  #resting = 0
  #leave: AbortController | undefined
  #failed: FailedStep | undefined
  /** Failed, and may have done their work all the same. */
  readonly #doubtful: FailedStep[] = []
  readonly #unknown: { readonly step: string; readonly cause: string }[] = []
  #isHalted = false
  readonly #over = Promise.withResolvers<CourseEnd>()

  constructor(world: CourseWorld) {
    const { order, steps, spentMs } = world.pen.mission
    this.#world = {
      ...world,
      attemptMs: () => world.time.usedMs - spentMs,
      backOff: (waitMs, signal) => this.#backOff(waitMs, signal),
    }
    this.#time = world.time
    this.#plan = order.plan
    this.#needs = needsOf(order.plan)
    this.#done = new Set(steps.filter(isDone).map(({ id }) => id))
  }

  run(): Promise<CourseEnd> {
    const begun = this.#plan.filter(({ id }) => stepOf(this.#world.pen.mission, id)?.status === 'running')
    for (const step of begun) this.#begin(step)
    this.#advance()
    // Also when the attempt has to end: what stands started has to stand as not called.
    for (const step of begun) void this.#walk(step) // never rejects
    if (this.#live.size === 0) this.#end()
    return this.#over.promise
  }

  isDone(id: string): boolean {
    return this.#done.has(id)
  }

  isTaken(id: string): boolean {
    return this.#taken.has(id)
  }

  live(uses: string): number {
    let live = 0
    for (const other of this.#live.values()) if (other === uses) live += 1
    return live
  }

  room(uses: string): number {
    return roomOf(uses, this.#world.ports.calls)
  }

  get liveAll(): number {
    return this.#live.size
  }

  /** Begins what may begin; the starts go into the batch of whatever ended before them. */
  #advance(): void {
    const { pen, ports, running } = this.#world
    if (running.halt !== undefined || this.#isBad) return
    if (this.#needsLocked) {
      this.#isHalted = true
      return
    }
    const starting = startable(this.#plan, this.#needs, this)
    for (const step of starting) {
      this.#begin(step)
      pen.put(startOf(step, pen.mission, ports.calls))
    }
    for (const step of starting) void this.#walk(step) // never rejects
  }

  #begin({ id, uses }: PlanStep): void {
    this.#taken.add(id)
    this.#live.set(id, uses)
  }

  async #walk(step: PlanStep): Promise<void> {
    const { pen } = this.#world
    try {
      const end = await runStep(step, this.#signalOf(step.id), this.#world)
      this.#live.delete(step.id)
      this.#take(step.id, end)
      this.#pace()
      if (this.#live.size === 0) this.#end()
      // The end is a checkpoint, whatever the others do.
      else pen.flush().catch((error) => this.#lose(error))
    } catch (error) {
      this.#lose(error)
    }
  }

  /** Nothing more can be recorded, so nothing more is to be done. */
  #lose(error: unknown): void {
    this.#world.running.stop({ kind: 'lost' })
    this.#over.reject(error)
  }

  #take(id: string, end: StepEnd): void {
    const { pen } = this.#world
    switch (end.kind) {
      case 'completed':
        pen.put(end.record)
        this.#done.add(id)
        this.#advance()
        break
      case 'failed':
        this.#fail(end)
        break
      case 'unknown':
        this.#unknown.push({ step: id, cause: end.cause })
        this.#leave?.abort(new Error('a step beside it has no known end'))
        break
      case 'halted':
        this.#isHalted = true
    }
  }

  /** The failure that ends the attempt stands in the attempt's record; of a second one the step's record tells. */
  #fail(end: FailedStep): void {
    if (this.#mayBeDone(end)) this.#doubtful.push(end)
    const isWorse = this.#failed === undefined || (this.#failed.retry && !end.retry)
    const other = isWorse ? this.#failed : end
    if (isWorse) this.#failed = end
    if (other !== undefined && !this.#doubtful.includes(other)) this.#recordFailure(other)
    this.#leave?.abort(new Error('a step beside it failed'))
  }

  /** Out of time, and not to be called again for it. */
  #mayBeDone({ error, retry }: FailedStep): boolean {
    const isIdempotent = stepOf(this.#world.pen.mission, error.step ?? '')?.idempotent === true
    return error.code === 'CALL_EXPIRED' && !retry && !isIdempotent
  }

  #recordFailure(failed: FailedStep): void {
    if (failed.error.step === undefined) return
    this.#world.pen.put(failedStep(failed.error.step, failed.error, failed.durationMs, this.#world))
  }

  #end(): void {
    const { running } = this.#world
    const unknown = this.#unknown
    const isLost = unknown.length > 0
    for (const one of this.#doubtful) {
      const { step, message } = one.error
      // A failed mission is over. One that somebody may resume must not do again what may be done, unless he says so.
      if (isLost && step !== undefined) unknown.push({ step, cause: message })
      else if (one !== this.#failed) this.#recordFailure(one)
    }
    // The attempt's record will be about the steps nobody knows of.
    if (isLost && this.#failed !== undefined && !this.#doubtful.includes(this.#failed)) {
      this.#recordFailure(this.#failed)
    }
    const isLeft = this.#plan.some(({ id }) => !this.#done.has(id))
    // A plan that cannot go on is refused when it is made; to come here again and again would help nobody.
    const isStuck = isLeft && !this.#isBad && running.halt === undefined
    const stuck = isStuck
      ? failure(new NexusError('INTERNAL', { reference: running.missionId }), false)
      : undefined
    this.#over.resolve({ failure: this.#failed ?? stuck, unknown, halted: isLeft })
  }

  /** An omen has locked a module that it still needs: it goes back into the queue, and on from here when that opens. */
  get #needsLocked(): boolean {
    const { calls } = this.#world.ports
    return this.#plan.some(
      ({ id, uses }) => !this.#taken.has(id) && calls.module(moduleOf(uses)).locked && !this.#done.has(id),
    )
  }

  get #isBad(): boolean {
    return this.#failed !== undefined || this.#unknown.length > 0 || this.#isHalted
  }

  /** A plan of one step has nobody beside it to stop for. */
  #signalOf(id: string): AbortSignal {
    const { pen, running } = this.#world
    const isIdempotent = stepOf(pen.mission, id)?.idempotent === true
    if (this.#plan.length === 1 || !isIdempotent) return running.signal
    if (this.#leave === undefined) {
      const leave = new AbortController()
      running.signal.addEventListener('abort', () => leave.abort(running.signal.reason), { once: true })
      if (running.signal.aborted) leave.abort(running.signal.reason)
      this.#leave = leave
    }
    return this.#leave.signal
  }

  async #backOff(waitMs: number, signal: AbortSignal): Promise<void> {
    this.#resting += 1
    this.#pace()
    try {
      await sleep(this.#world.ports.clock, waitMs, signal)
    } finally {
      this.#resting -= 1
      this.#pace()
    }
  }

  /** Time that all steps spend waiting for their next try is no execution time. */
  #pace(): void {
    if (this.#live.size > 0 && this.#resting === this.#live.size) this.#time.rest()
    else this.#time.run()
  }
}

type FailedStep = Extract<StepEnd, { kind: 'failed' }>

/** How many calls of an action its module takes at once; more would only stand in its line. */
function roomOf(uses: string, calls: Pick<ModuleCalls, 'action' | 'module'>): number {
  const moduleId = moduleOf(uses)
  const each = calls.action(moduleId, actionOf(uses))?.concurrency ?? 1
  return each * Math.max(1, calls.module(moduleId).instances ?? 1)
}
