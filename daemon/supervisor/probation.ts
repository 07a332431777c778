import { NexusError } from '../contracts/failure.ts'
import type { Departure } from '../host/port.ts'
import { type Clock, sleep } from '../kit/clock.ts'
import { describeDeparture } from './departure.ts'
import type { Replica, ReplicaSet } from './replica-set.ts'

/** Why new code does not hold, found while it settled. */
export class Trouble extends Error {
  readonly stackOfModule: string | undefined
  /** The one that stopped beating, still there: what it hangs in is known when it is gone. */
  readonly hanging: Replica | undefined

  /** Something else is to blame, so the code is not known as bad. */
  readonly blameless: boolean

  constructor(reason: string, more: TroubleDetails = {}) {
    super(reason)
    this.stackOfModule = more.stack
    this.hanging = more.hanging
    this.blameless = more.blameless ?? false
  }
}

interface TroubleDetails {
  readonly stack?: string | undefined
  readonly hanging?: Replica
  readonly blameless?: boolean
}

/** A look every so often while settling: a sixth of the time, but not more than ten a second. */
const LOOKS = 6
const LOOK_MS_MIN = 100
/** So many failed calls, at this many times the old rate, are the new code's fault. */
const FAILURES_MIN = 5
const FAILURE_RATIO = 3

/**
 * Watches the next set from its first replica until it is committed. What goes wrong is found once and stays found: a
 * replica that dies while its neighbours still come up is not overlooked.
 */
export class Probation {
  readonly #clock: Clock
  readonly #next: ReplicaSet
  readonly #before: Calls
  readonly #trouble: Promise<never>
  #fail: (reason: unknown) => void = () => {}

  /** @param signal - Gives the whole thing up; its reason is thrown. */
  constructor(clock: Clock, signal: AbortSignal, old: ReplicaSet, next: ReplicaSet) {
    this.#clock = clock
    this.#next = next
    this.#before = callsOf(old)
    this.#trouble = new Promise((_, reject) => {
      this.#fail = reject
    })
    this.#trouble.catch(() => {}) // read by whatever is waited for when it comes
    if (signal.aborted) this.#fail(signal.reason)
    signal.addEventListener('abort', () => this.#fail(signal.reason), { once: true })
  }

  /** A replica of the set went away or turned suspect. */
  disturbed(replica: Replica, what: Departure | 'suspect'): void {
    if (what === 'suspect') {
      this.#fail(new Trouble('its heartbeat stopped', { hanging: replica }))
      return
    }
    const details = { stack: stackOf(what), blameless: what.how === 'displaced' }
    this.#fail(new Trouble(describeDeparture(what), details))
  }

  /** The work, unless trouble comes first; the work goes on unobserved then. */
  async during<T>(work: Promise<T>): Promise<T> {
    work.catch(() => {}) // it may end after the trouble
    return await Promise.race([this.#trouble, work])
  }

  /** Resolves when nothing has gone wrong for so long. @throws Trouble, or why the signal aborted. */
  async pass(settleMs: number): Promise<void> {
    await this.during(this.#look(settleMs))
  }

  async #look(settleMs: number): Promise<void> {
    const endMs = this.#clock.elapsed() + settleMs
    const stopped = new AbortController()
    this.#trouble.catch(() => stopped.abort())
    for (let leftMs = settleMs; leftMs > 0; leftMs = endMs - this.#clock.elapsed()) {
      await sleep(this.#clock, Math.min(leftMs, Math.max(LOOK_MS_MIN, settleMs / LOOKS)), stopped.signal)
      this.#compareFailures()
      await Promise.all([...this.#next.replicas].map((replica) => this.#askHealth(replica)))
    }
  }

  async #askHealth({ instance, set }: Replica): Promise<void> {
    if (instance?.has.health !== true) return
    const answer = await instance.health(set.generation.manifest.health.timeout_ms).catch(unlessCut)
    if (answer?.status !== 'unhealthy') return
    throw new Trouble(`it says it is unhealthy: ${answer.reason ?? 'no reason given'}`)
  }

  #compareFailures(): void {
    const after = callsOf(this.#next)
    const oldRate = rateOf(this.#before)
    const newRate = rateOf(after)
    if (after.failed < FAILURES_MIN || newRate < FAILURE_RATIO * oldRate) return
    const rates = `${Math.round(newRate * 100)} % against ${Math.round(oldRate * 100)} %`
    throw new Trouble(`${after.failed} calls failed, ${rates}`)
  }
}

interface Calls {
  readonly answered: number
  readonly failed: number
}

function callsOf(set: ReplicaSet): Calls {
  const sums = { answered: 0, failed: 0 }
  for (const { answered, failed } of set.replicas) {
    sums.answered += answered
    sums.failed += failed
  }
  return sums
}

function rateOf({ answered, failed }: Calls): number {
  return failed / Math.max(1, failed + answered)
}

/** An instance that ends while it is asked tells why by its end. */
function unlessCut(error: unknown): undefined {
  if (!(error instanceof NexusError && error.code === 'CALL_CUT')) throw error
}

function stackOf(departure: Departure): string | undefined {
  return 'stack' in departure ? departure.stack : undefined
}
