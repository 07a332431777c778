import t from 'tap'
import { catchAll, skip } from './catch.ts'
import { isOfQueue, MUTANTS } from './mutants.ts'

t.test('every bug that is planted in the engine, its lanes and its ledger is caught', { skip }, async (t) => {
  catchAll(t, MUTANTS.filter(isOfQueue))
})
