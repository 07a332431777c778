import type { Served } from '../kit/load.ts'

/** How the app of the comparison behaves: well, or broken in one of five ways. */
export const FAULTS = ['syntax', 'throws at boot', 'never ready', 'dies young', 'hangs young'] as const
export type Fault = (typeof FAULTS)[number]

/** One version of the app. It answers every request with `<version> <pid>`. */
export interface AppVersion {
  readonly version: string
  readonly fault?: Fault
}

/** One supervisor with its apps, running. */
export interface Site {
  /** The supervisor itself. */
  readonly pid: number
  /** When the apps were asked for, on the clock of `performance.now`. */
  readonly startedMs: number
  /** The port of each app. */
  readonly ports: readonly number[]
  /** Puts a version in the place of the first app; resolves when the supervisor says that it is done. */
  deploy(app: AppVersion): Promise<void>
  /** Ends the instance that gave this answer, as a crash would. */
  crash(served: Served): Promise<void>
  /** Ends it with everything that it started. */
  stop(): Promise<void>
}

/** A supervisor that can be compared. */
export interface Contender {
  readonly name: string
  /** Why it cannot run here; undefined when it can. */
  missing(): string | undefined
  /**
   * Starts it with so many apps of version `v1`; resolves at once, before they answer.
   *
   * @param settleMs - How long new code is on trial, for one that has such a trial; its standard when absent.
   */
  launch(apps: number, replicas: number, settleMs?: number): Promise<Site>
  /** Asks it for the status of everything, as a probe would; undefined where there is no such command. */
  probe?(site: Site): Promise<void>
  /** A port for each app; false where only the first is reachable. */
  readonly portPerApp: boolean
}

/** What the app does beside answering, as a statement of JavaScript that runs once it serves. */
export function lateFault({ fault }: AppVersion): string {
  if (fault === 'dies young') return `setTimeout(() => process.exit(1), ${YOUNG_MS});`
  if (fault === 'hangs young') return `setTimeout(() => { for (;;); }, ${YOUNG_MS});`
  return ''
}

/** How it answers, as an expression of JavaScript; `id` is one that tells an instance from the next. */
export function handler({ version }: AppVersion, id: string): string {
  return `(question, answer) => {
    if (question.url === '/hang') for (;;);
    if (question.url === '/crash') setImmediate(() => { throw new Error('crash') })
    answer.end('${version} ' + ${id})
  }`
}

/** What comes first in its file. */
export function earlyFault({ fault }: AppVersion): string {
  if (fault === 'syntax') return 'const = 1;'
  if (fault === 'throws at boot') return "throw new Error('it cannot boot');"
  return ''
}

const YOUNG_MS = 1_500
