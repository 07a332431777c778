import { spawnSync } from 'node:child_process'
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { FactDraft } from '../../daemon/contracts/fact.ts'
import { Journal } from '../../daemon/storage/journal.ts'
import { nodeDisk } from '../../daemon/storage/node-disk.ts'
import { verifyJournal } from '../../daemon/storage/verify.ts'
import { shortDir } from '../support/short-dir.ts'
import { TestClock } from '../support/test-clock.ts'

const PROGRAM = join(import.meta.dirname, 'verify.py')
const hasPython = spawnSync('python3', ['--version']).status === 0
const actor = { kind: 'token', name: 'aeon' } as const

/** What the independent program says: its exit code, and the seq it names. */
function judge(dir: string): { status: number | null; seq: number } {
  const { status, stdout, stderr } = spawnSync('python3', [PROGRAM, dir], { encoding: 'utf8' })
  if (stderr !== '') throw new Error(stderr)
  return { status, seq: Number(/(?:seq|ok:) (\d+)/.exec(stdout)?.[1]) }
}

async function makeJournal(dir: string): Promise<number> {
  const clock = new TestClock()
  const { journal } = await Journal.open({
    disk: nodeDisk,
    clock,
    dataDir: dir,
    segmentBytesMax: 2_000,
    onReplay: () => undefined,
  })
  for (let n = 0; n < 12; n += 1) {
    const mid = `m-${String(n).padStart(26, '0')}`
    const drafts: FactDraft[] = [
      {
        type: 'mission.created',
        mid,
        actor,
        d: { goal: 'Zielgruppe für 😀 \u2028 \ud800 "', n: n / 3, big: 1e21, h: 'x' },
      },
      { type: 'mission.claimed', mid, ep: 1, actor, d: {} },
    ]
    await journal.appendAll(drafts.slice(0, 1 + (n % 2)))
  }
  await journal.close()
  return journal.head.seq
}

t.test(
  'a second program, of another language, comes to the same verdict',
  { skip: !hasPython && 'no python3' },
  async (t) => {
    const dir = shortDir(t)
    const last = await makeJournal(join(dir, 'good'))
    t.strictSame(judge(join(dir, 'good')), { status: 0, seq: last })
    t.match(await verifyJournal(nodeDisk, join(dir, 'good')), { ok: true, records: last, segments: 3 })

    const sealed = 'audit/000000000001.jsonl'
    const lines = readFileSync(join(dir, 'good', sealed), 'utf8').split(/(?<=\n)/)
    const with_ = (change: (copy: string[]) => string[]): string => change([...lines]).join('')
    const third = lines[2] ?? ''
    const cases: [string, string | undefined, number][] = [
      ['a changed letter', with_((all) => all.with(2, third.replace('aeon', 'aeom'))), 3],
      [
        'a changed hash',
        with_((all) =>
          all.with(
            2,
            third.replace(/.(?="\}\n)/, (hex) => (hex === '0' ? '1' : '0')),
          ),
        ),
        3,
      ],
      ['another batch', with_((all) => all.with(2, third.replace(/"b":\d+/, '"b":1'))), 3],
      ['a duplicated line', with_((all) => all.toSpliced(2, 0, third)), 4],
      ['a missing line', with_((all) => all.toSpliced(2, 1)), 3],
      ['swapped lines', with_((all) => all.with(2, all[3] ?? '').with(3, third)), 3],
      ['a missing last line', with_((all) => all.slice(0, -1)), lines.length],
      ['a torn line', with_((all) => all).slice(0, -9), lines.length],
      ['CR LF', with_((all) => all.map((line) => line.replace('\n', '\r\n'))), 1],
      ['an empty segment', '', 1],
      ['a missing segment', undefined, 1],
    ]
    for (const [name, contents, seq] of cases) {
      const copy = join(dir, 'copy')
      rmSync(copy, { recursive: true, force: true })
      cpSync(join(dir, 'good'), copy, { recursive: true })
      if (contents === undefined) rmSync(join(copy, sealed))
      else writeFileSync(join(copy, sealed), contents)
      t.strictSame(judge(copy), { status: 1, seq }, name)
      const { ok, damage } = await verifyJournal(nodeDisk, copy)
      t.strictSame([ok, damage?.facts['seq']], [false, seq], `${name}: the daemon's own agrees`)
    }
  },
)

t.test(
  'a folder without a journal is one with no records, a wrong call is a usage error',
  { skip: !hasPython && 'no python3' },
  async (t) => {
    const dir = shortDir(t)
    t.strictSame(judge(dir), { status: 0, seq: 0 })
    t.equal(spawnSync('python3', [PROGRAM]).status, 2)
  },
)
