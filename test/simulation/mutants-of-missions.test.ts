import t from 'tap'
import { catchAll } from './catch.ts'
import { MUTANTS } from './mutants.ts'

t.test('every bug that is planted in the missions is caught', async (t) => {
  catchAll(
    t,
    MUTANTS.filter(({ file }) => file.startsWith('daemon/missions/')),
  )
})
