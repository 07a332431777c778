import t from 'tap'
import { simulate } from './catch.ts'

/** About ten seconds of one core; `npm run simulate` plays as many as one likes. */
const SCHEDULES = 1_500

t.test(
  'whatever crashes between any two steps: what was told holds, and nothing happens twice or for nobody',
  async (t) => {
    const seed = process.env['NEXUS_SIMULATION_SEED'] ?? '20261122'
    const { failure, figures, schedules } = simulate('--schedules', String(SCHEDULES), '--seed', seed)
    t.equal(failure?.message, undefined, `npm run simulate -- --seed ${seed} --schedules ${SCHEDULES}`)
    t.comment(`${schedules} schedules: ${JSON.stringify(figures)}`)
    // It saw what it is about.
    const { kills, powerCuts, acknowledged, effects } = figures
    t.ok(
      schedules === SCHEDULES && Math.min(kills, powerCuts, acknowledged, effects) > schedules / 4,
      'it saw enough',
    )
  },
)
