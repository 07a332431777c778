import { type ChildProcess, spawn } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Clock, Timer } from '../kit/clock.ts'
import { withDeadline } from '../kit/deadline.ts'
import { linesOf } from './text-lines.ts'

/** Long enough for the next save of somebody who is at work, short enough that a quiet daemon does not pay for it. */
const IDLE_MS = 10_000
/** It boots in 50 ms and strips 3 MB in a second; a machine that swaps needs longer. */
const ANSWER_MS_MAX = 20_000

/** Takes types out of TypeScript, in a process that is there only while there is something to do. */
export class Stripper {
  readonly #clock: Clock
  #running: Running | undefined
  #idle: Timer | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Boots the process ahead of need. */
  warm(): void {
    this.#process()
  }

  /**
   * @returns JavaScript with everything at the same line and column; null for text that cannot be made so.
   * @throws Error when the process cannot be started, ends early, or is silent for twenty seconds.
   */
  async strip(code: string): Promise<string | null> {
    const running = this.#process()
    const answer = new Promise<string | null>((resolve, reject) => running.waiting.push({ resolve, reject }))
    running.child.stdin?.write(`${JSON.stringify(code)}\n`)
    try {
      return await withDeadline(this.#clock, ANSWER_MS_MAX, answer, () => new Error('the stripper is silent'))
    } catch (error) {
      running.child.kill('SIGKILL')
      throw error
    }
  }

  /** Ends the process; whoever waits for it is told so. */
  async close(): Promise<void> {
    this.#idle?.cancel()
    const running = this.#running
    running?.child.kill('SIGKILL')
    await running?.ended
  }

  #process(): Running {
    this.#idle?.cancel()
    this.#idle = this.#clock.after(IDLE_MS, () => this.#rest())
    this.#running ??= this.#start()
    return this.#running
  }

  #rest(): void {
    // Without input it ends by itself, after what it was asked.
    this.#running?.child.stdin?.end()
    this.#running = undefined
  }

  #start(): Running {
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', PROGRAM], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: {},
    })
    const running: Running = { child, waiting: [], ended: Promise.resolve() }
    const end = (error: Error): void => {
      if (this.#running === running) this.#running = undefined
      for (const { reject } of running.waiting.splice(0)) reject(error)
    }
    running.ended = new Promise((resolve) => {
      child.once('error', (error) => resolve(end(error)))
      child.once('close', (code, signal) => resolve(end(new Error(`the stripper ended (${signal ?? code})`))))
    })
    // A pipe that breaks is a process that ended.
    child.stdin?.on('error', () => undefined)
    void answer(running)
    return running
  }
}

interface Running {
  readonly child: ChildProcess
  /** In the order in which it was asked. */
  readonly waiting: { resolve(js: string | null): void; reject(error: Error): void }[]
  ended: Promise<void>
}

/** Never rejects: a process that breaks off in its speech is killed, and its end is heard. */
async function answer({ child, waiting }: Running): Promise<void> {
  if (child.stdout === null) return
  try {
    for await (const line of linesOf(child.stdout))
      waiting.shift()?.resolve(JSON.parse(line) as string | null)
  } catch {
    child.kill('SIGKILL')
  }
}

/** TypeScript beside this file in a checkout, JavaScript in `dist`. */
const PROGRAM = realpathSync(
  fileURLToPath(new URL(`./strip-program.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url)),
)
