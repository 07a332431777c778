import { MUTANTS, plant } from '../simulation/mutants.ts'

/** Runs the conformance suite with one planted bug: `node test/missions/conformance-mutant.ts <name>`. */
const mutant = MUTANTS.find(({ name }) => name === process.argv[2])
if (mutant === undefined) throw new Error(`no mutant '${process.argv[2]}'`)
plant([mutant])
await import('./conformance.test.ts')
