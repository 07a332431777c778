import type { Clock, Timer } from '../kit/clock.ts'
import { type InspectorAddress, type InspectorDoor, isListeningOn } from './autopsy-door.ts'
import type { Finding, Frame } from './autopsy-frames.ts'
import { describePosture, judgePosture, type Posture, readPosture } from './autopsy-posture.ts'
import { lookInside } from './autopsy-visit.ts'

export interface AutopsyOrder {
  /** Of the process itself, when it has one. */
  pid(): number | undefined
  readonly door: InspectorDoor
  readonly clock: Clock
  /** What it was asked to do and has not done, in words: a hint where no stack can be seen. */
  doing(): string | undefined
  /** What a stack says of whoever is examined; undefined when it shows nothing of them. */
  read(frames: readonly Frame[]): Finding | undefined
  /** Called with what was found, again when more was seen later; never after `forgive` or `close`. */
  found(finding: Finding): void
}

/**
 * Finds out where the event loop of one process is blocked: by its JavaScript stack, seen through its inspector, and
 * where there is none to see, by what the kernel tells.
 *
 * It never waits for anything and nobody waits for it: whoever ends the process takes the `finding` there is.
 */
export class Autopsy {
  readonly #order: AutopsyOrder
  readonly #timers = new Set<Timer>()
  #begunMs: number[] = []
  /** Of the suspicion that lasts; aborted when it is over. */
  #case: AbortController | undefined
  #finding: Finding | undefined
  /** It is JavaScript that runs there: it came to a pause, and its stack is being looked for. */
  #wasPaused = false

  constructor(order: AutopsyOrder) {
    this.#order = order
  }

  /** What was found since the last `begin`. */
  get finding(): Finding | undefined {
    return this.#finding
  }

  /** The same when time is up: if nothing else was seen, at least what the kernel knows now. */
  lastWord(): Finding | undefined {
    if (this.#finding !== undefined) return this.#finding
    if (this.#wasPaused) return { blockedAt: 'callbacks that call for each other without end' }
    const posture = this.#posture()
    return posture === undefined ? undefined : { blockedAt: this.#describe(posture, 'code') }
  }

  /** The heartbeat stopped. */
  begin(): void {
    this.#drop()
    this.#finding = undefined
    const nowMs = this.#order.clock.elapsed()
    this.#begunMs = this.#begunMs.filter((atMs) => nowMs - atMs < BUDGET_MS)
    if (this.#begunMs.length >= BUDGET_MAX) return
    this.#begunMs.push(nowMs)
    const posture = this.#posture()
    if (posture === undefined) return
    this.#case = new AbortController()
    const { obstacle } = this.#order.door
    // Whoever does not catch the signal would be killed by it.
    const why = obstacle ?? (posture.catchesUsr1 ? undefined : 'its program does not open an inspector')
    if (why !== undefined)
      this.#conclude({ blockedAt: `${this.#describe(posture, 'code')} (no stack: ${why})` })
    else if (judgePosture(posture, posture) === 'ask') this.#ask(posture)
    else this.#after(SECOND_LOOK_MS, () => this.#lookAgain(posture))
  }

  /** It beats again. An inspector that was opened is closed, or will be when it opens. */
  forgive(): void {
    this.#drop()
  }

  /** The process is gone. */
  close(): void {
    this.#drop()
  }

  #drop(): void {
    this.#case?.abort()
    this.#case = undefined
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
  }

  #lookAgain(first: Posture): void {
    const second = this.#posture()
    if (second === undefined) return
    if (judgePosture(first, second) === 'ask') this.#ask(second)
    else this.#conclude({ blockedAt: this.#describe(second, 'code outside JavaScript') })
  }

  #ask(posture: Posture): void {
    this.#after(UNSEEN_MS, () => this.#doubt(posture))
    void this.#enter(this.#case?.signal)
  }

  /** One that is open still, since an earlier visit did not end well, is not opened a second time. */
  async #enter(signal: AbortSignal | undefined): Promise<void> {
    const { door } = this.#order
    const former = door.address
    if (former !== undefined && (await this.#isIts(former))) return this.#visit(former)
    if (signal?.aborted !== true) door.knock((address) => void this.#visit(address))
  }

  /** Also when the suspicion is over, or all was seen: then only to close it. */
  async #visit(address: InspectorAddress): Promise<void> {
    const { clock, read } = this.#order
    if (!(await this.#isIts(address))) return
    const leave = await takeTurn()
    try {
      const current = this.#finding?.stack === undefined ? this.#case?.signal : undefined
      const signal = current ?? AbortSignal.abort()
      const enough = (frames: readonly Frame[]): boolean => {
        this.#wasPaused = true
        return read(frames) !== undefined
      }
      const frames = await lookInside(address, { clock, waitMs: VISIT_MS, signal, enough })
      const finding = read(frames)
      if (finding !== undefined && !signal.aborted) this.#conclude(finding)
      this.#wasPaused = false
    } finally {
      leave()
    }
  }

  /**
   * Code outside JavaScript does not even open the inspector before it is done. But on a machine that is overloaded
   * nothing else does either: one that runs must have had its share of the processor first.
   */
  #doubt(asked: Posture): void {
    const now = this.#posture()
    if (now === undefined || this.#finding !== undefined) return
    if (this.#wasPaused) this.#after(UNSEEN_MS, () => this.#doubt(asked))
    else if (now.call === undefined && now.cpuMs - asked.cpuMs < UNSEEN_CPU_MS) {
      this.#after(UNSEEN_CPU_MS, () => this.#doubt(asked))
    } else {
      this.#conclude({ blockedAt: this.#describe(now, 'code outside JavaScript') })
    }
  }

  #describe(posture: Posture, code: 'code' | 'code outside JavaScript'): string {
    const doing = this.#order.doing()
    return `${describePosture(posture, code)}${doing === undefined ? '' : `, during ${doing}`}`
  }

  async #isIts({ port }: InspectorAddress): Promise<boolean> {
    const pid = this.#order.pid()
    return pid !== undefined && (await isListeningOn(pid, port))
  }

  #posture(): Posture | undefined {
    const pid = this.#order.pid()
    return pid === undefined ? undefined : readPosture(pid)
  }

  #conclude(finding: Finding): void {
    this.#finding = finding
    this.#order.found(finding)
  }

  #after(waitMs: number, ring: () => void): void {
    const timer = this.#order.clock.after(waitMs, () => {
      this.#timers.delete(timer)
      ring()
    })
    this.#timers.add(timer)
  }
}

/** Resolves when fewer than `TURNS_MAX` are at it; call the result when done. */
async function takeTurn(): Promise<() => void> {
  if (turns >= TURNS_MAX) await new Promise<void>((next) => waiting.push(next))
  else turns += 1
  return () => {
    const next = waiting.shift()
    if (next === undefined) turns -= 1
    else next()
  }
}

/** Of all visits of this daemon: fifty modules that hang together are seen one after another, while it goes on. */
const TURNS_MAX = 4
let turns = 0
const waiting: (() => void)[] = []

/** A module that stalls again and again has been seen well enough after six times a minute. */
const BUDGET_MAX = 6
const BUDGET_MS = 60_000
/** Long enough for a process that works to do something else. */
const SECOND_LOOK_MS = 50
/** A visit takes a tenth of that on a machine that is not overloaded. */
const UNSEEN_MS = 1_000
const UNSEEN_CPU_MS = 300
/** A loop around something slow comes to a pause only between two rounds. Nobody waits meanwhile. */
const VISIT_MS = 10_000
