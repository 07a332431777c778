import '../support/clean-children.ts'
import t from 'tap'
import { killLoop } from './kill-loop.ts'

t.test(
  'killed under load again and again, it loses nothing it acknowledged and does nothing twice',
  async (t) => {
    const report = await killLoop(6, 11, (line) => t.comment(line))
    t.ok(report.acknowledged > 20, `${report.acknowledged} missions were acknowledged`)
    t.match(report.verifier, /^ok: \d+ records/)
    const { lost, doubled, changedOutcome, ranTwice, orphans, unfinished } = report
    t.strictSame(
      { lost, doubled, changedOutcome, ranTwice, orphans, unfinished },
      { lost: [], doubled: [], changedOutcome: [], ranTwice: [], orphans: [], unfinished: [] },
    )
  },
)
