import t from 'tap'
import { catchAll, simulate, skip } from './catch.ts'
import { MUTANTS } from './mutants.ts'

t.test('the same schedules find nothing in the daemon as it is', async (t) => {
  const { failure, schedules } = simulate('--schedules', '500')
  t.equal(failure, undefined, `${schedules} schedules`)
})

t.test(
  'every bug that is planted in the journal, the memory and their kit is caught',
  { skip },
  async (t) => {
    catchAll(
      t,
      MUTANTS.filter(({ file }) => !file.startsWith('daemon/missions/')),
    )
  },
)
