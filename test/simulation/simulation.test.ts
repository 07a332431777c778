import t from 'tap'
import { plant, SMALL } from './mutants.ts'

plant(SMALL)
const { check, tellFailure } = await import('./check.ts')

/** About ten seconds of one core, and time enough on a busy one; `npm run simulate` plays as many as one likes. */
const SCHEDULES = 1_500
const SECONDS_MAX = 120

t.test(
  'whatever crashes between any two steps: what was told holds, and nothing happens twice or for nobody',
  async (t) => {
    const seed = Number(process.env['NEXUS_SIMULATION_SEED'] ?? 20_261_122)
    const { failure, figures, schedules } = await check({
      seed,
      schedules: SCHEDULES,
      secondsMax: SECONDS_MAX,
    })
    if (failure !== undefined) t.fail(tellFailure(failure))
    t.comment(`${schedules} schedules: ${JSON.stringify(figures)}`)
    // It saw what it is about.
    const { kills, powerCuts, acknowledged, effects } = figures
    t.ok(
      schedules > 200 && Math.min(kills, powerCuts, acknowledged, effects) > schedules / 4,
      'it saw enough',
    )
  },
)
