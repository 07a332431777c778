import { parseArgs } from 'node:util'
import { plant, SMALL } from './mutants.ts'
import type { Schedule } from './simulation.ts'
import { takeTurns } from './turns.ts'

/**
 * Plays one failing schedule again and tells every step of it:
 * `node test/simulation/replay.ts --schedule <word>`, or `--seed <n> --path <p>` as a failure printed them.
 */
plant(SMALL)
const { check, scheduleOf } = await import('./check.ts')
const { noFigures, play } = await import('./simulation.ts')

const { values } = parseArgs({
  options: { seed: { type: 'string' }, path: { type: 'string' }, schedule: { type: 'string' } },
})

async function wanted(): Promise<Schedule | undefined> {
  if (values.schedule !== undefined) return scheduleOf(values.schedule)
  const seed = Number(values.seed)
  const { failure } = await check({
    seed,
    schedules: 1_000_000,
    ...(values.path ? { path: values.path } : {}),
  })
  return failure?.schedule
}

const schedule = await wanted()
if (schedule === undefined) console.log('no schedule fails')
else {
  const giveBack = takeTurns()
  try {
    await play(schedule, noFigures(), console.log)
    console.log('it holds')
  } catch (error) {
    console.log(error)
    process.exitCode = 1
  } finally {
    giveBack()
  }
}
