import fc from 'fast-check'
import { type Figures, noFigures, play, type Schedule } from './simulation.ts'
import { letOthers, takeTurns } from './turns.ts'

export interface Found {
  readonly figures: Figures
  readonly schedules: number
  readonly seconds: number
  readonly failure:
    | { readonly message: string; readonly seed: number; readonly path: string; readonly schedule: Schedule }
    | undefined
}

export interface CheckOrder {
  readonly seed: number
  readonly schedules: number
  readonly secondsMax?: number
  /** Where in the tree of schedules a failure was met: only that one is played. */
  readonly path?: string
  /** A failure is reported as it was met, and not made smaller. */
  readonly isQuick?: boolean
  /** Told after each schedule how many there were. */
  readonly played?: (schedules: number) => void
}

/** Plays many schedules, all of them made from one seed, and makes the first one that fails as small as it can. */
export async function check({
  seed,
  schedules,
  secondsMax,
  path,
  isQuick,
  played,
}: CheckOrder): Promise<Found> {
  const figures = noFigures()
  const startedMs = performance.now()
  const giveBack = takeTurns()
  const { stackTraceLimit } = Error
  // Thousands of refusals a second: where each of them was made is asked of a replay.
  Error.stackTraceLimit = 0
  try {
    let schedulesPlayed = 0
    const property = fc.asyncProperty(SCHEDULES, async (schedule) => {
      await play(schedule, figures)
      schedulesPlayed += 1
      played?.(schedulesPlayed)
      // Whoever wants to end this is heard between two of them.
      await letOthers()
    })
    const result = await fc.check(property, {
      seed,
      numRuns: schedules,
      endOnFailure: isQuick === true,
      markInterruptAsFailure: false,
      ...(secondsMax === undefined ? {} : { interruptAfterTimeLimit: secondsMax * 1_000 }),
      ...(path === undefined ? {} : { path }),
    })
    const [schedule] = result.counterexample ?? []
    const failure =
      !result.failed || schedule === undefined
        ? undefined
        : { message: String(result.errorInstance), seed, path: result.counterexamplePath ?? '', schedule }
    const seconds = (performance.now() - startedMs) / 1_000
    return { figures, schedules: result.numRuns, seconds, failure }
  } finally {
    giveBack()
    Error.stackTraceLimit = stackTraceLimit
  }
}

const SCHEDULES: fc.Arbitrary<Schedule> = fc.record({
  setting: fc.noBias(fc.nat(0xffff)),
  steps: fc.noBias(fc.array(fc.nat(0x3fffffff), { minLength: 1, maxLength: 80, size: 'max' })),
})

/** A schedule as one word, for a command line. */
function wordOf({ setting, steps }: Schedule): string {
  return [setting, ...steps].map((number) => number.toString(36)).join('.')
}

export function scheduleOf(word: string): Schedule {
  const [setting = 0, ...steps] = word.split('.').map((number) => Number.parseInt(number, 36))
  return { setting, steps }
}

export function tellFailure({ message, seed, path, schedule }: NonNullable<Found['failure']>): string {
  const replay = `node test/simulation/replay.ts --seed ${seed} --path ${path} --schedule ${wordOf(schedule)}`
  return `${message}\n  seed ${seed}, path ${path}, ${schedule.steps.length} steps\n  ${replay}`
}
