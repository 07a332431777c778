import t from 'tap'
import { catchAll, skip } from './catch.ts'
import { isOfQueue, MUTANTS } from './mutants.ts'

t.test('every bug that is planted in the other files of the missions is caught', { skip }, async (t) => {
  catchAll(
    t,
    MUTANTS.filter((mutant) => mutant.file.startsWith('daemon/missions/') && !isOfQueue(mutant)),
  )
})
