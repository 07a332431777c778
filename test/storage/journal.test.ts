import { createHash } from 'node:crypto'
import t from 'tap'
import type { Fact } from '../../daemon/contracts/fact.ts'
import { checkLine } from '../../daemon/storage/line.ts'
import type { DiskCall, Fault } from '../support/memory-disk.ts'
import {
  ACTIVE,
  codeOf,
  DIR,
  draft,
  emptyDisk,
  failureOf,
  journalOf,
  linesOf,
  numberOf,
  openOn,
} from './kit.ts'

const ZEROS = '0'.repeat(64)

/** Strikes the n-th write or sync of the journal's own file. */
function strike(op: DiskCall['op'], nth: number, fault: Fault): (call: DiskCall) => Fault | undefined {
  let count = 0
  return (call) => {
    if (call.op !== op || call.path !== ACTIVE) return undefined
    count += 1
    return count === nth ? fault : undefined
  }
}

t.test('when the disk refuses', async (t) => {
  for (const [name, fault] of [
    ['ENOSPC', { error: 'ENOSPC' }],
    ['ENOSPC after a part was taken', { error: 'ENOSPC', taken: 40 }],
    ['EFBIG', { error: 'EFBIG' }],
    ['EDQUOT', { error: 'EDQUOT' }],
    ['a short write', { taken: 82 }],
    ['a write that took nothing', { taken: 0 }],
  ] as const) {
    t.test(`${name} takes the batch back, and the next one has the same number`, async (t) => {
      const disk = emptyDisk()
      const { journal, facts } = await openOn(disk)
      await journal.append(draft(1))
      const before = disk.contents(ACTIVE)
      disk.fault = strike('write', 1, fault)
      const refused = await Promise.all([codeOf(journal.append(draft(2))), codeOf(journal.append(draft(3)))])
      const between = disk.contents(ACTIVE)
      disk.fault = undefined
      const next = await journal.append(draft(4))
      t.strictSame(
        { refused, isBack: between.equals(before), seq: next.seq, seen: facts.map(numberOf) },
        { refused: ['JOURNAL_FULL', 'JOURNAL_FULL'], isBack: true, seq: 2, seen: [1, 4] },
      )
      await journal.close()
      t.strictSame((await openOn(disk)).facts.map(numberOf), [1, 4])
    })
  }

  t.test('a refused batch is gone for good before it is refused', async (t) => {
    const disk = emptyDisk()
    const { journal } = await openOn(disk)
    await journal.append(draft(1))
    const lines = draft(2, 500)
    disk.fault = strike('write', 1, { taken: 600 })
    t.equal(await codeOf(journal.append(lines)), 'JOURNAL_FULL')
    const calls = disk.calls.filter((call) => call.endsWith(ACTIVE)).slice(-3)
    t.strictSame(calls, [`write ${ACTIVE}`, `truncate ${ACTIVE}`, `datasync ${ACTIVE}`])
  })

  for (const [name, op, fault] of [
    ['a failed sync', 'datasync', { error: 'EIO' }],
    ['a sync that finds no room', 'datasync', { error: 'ENOSPC' }],
    ['a write error', 'write', { error: 'EIO' }],
    ['a read-only file system', 'write', { error: 'EROFS' }],
  ] as const) {
    t.test(`${name} ends the journal: nothing is acknowledged, nothing is tried again`, async (t) => {
      const disk = emptyDisk()
      const { journal, facts } = await openOn(disk)
      await journal.append(draft(1))
      const failures: string[] = []
      journal.onFailed((error) => failures.push(error.code))
      const pending = [codeOf(journal.append(draft(2)))]
      const struck = strike(op, 1, fault)
      disk.fault = (call) => {
        const hit = struck(call)
        if (hit !== undefined) pending.push(codeOf(journal.append(draft(3))))
        return hit
      }
      await pending[0]
      const codes = await Promise.all(pending)
      disk.fault = undefined
      const { count } = disk
      const later = await codeOf(journal.append(draft(4)))
      journal.onFailed((error) => failures.push(`late ${error.code}`))
      await journal.close()
      t.strictSame(
        { codes, later, failures, seen: facts.map(numberOf), touched: disk.count - count },
        {
          codes: ['JOURNAL_UNAVAILABLE', 'JOURNAL_UNAVAILABLE'],
          later: 'JOURNAL_UNAVAILABLE',
          failures: ['JOURNAL_UNAVAILABLE', 'late JOURNAL_UNAVAILABLE'],
          seen: [1],
          touched: 0,
        },
      )
    })
  }

  for (const op of ['truncate', 'datasync'] as const) {
    t.test(`a ${op} that fails while a batch is taken back ends the journal`, async (t) => {
      const disk = emptyDisk()
      const { journal } = await openOn(disk)
      await journal.append(draft(1))
      disk.fault = (call) => {
        if (call.path !== ACTIVE) return undefined
        if (call.op === 'write') return { taken: 5 }
        return call.op === op ? { error: 'EIO' } : undefined
      }
      t.equal(await codeOf(journal.append(draft(2))), 'JOURNAL_UNAVAILABLE')
      t.equal(journal.failure?.exit, 74)
    })
  }

  for (const [name, spoil] of [
    ['removed', (disk: ReturnType<typeof emptyDisk>) => disk.remove(ACTIVE)],
    ['replaced', (disk: ReturnType<typeof emptyDisk>) => disk.plant(ACTIVE, disk.contents(ACTIVE))],
  ] as const) {
    t.test(`a file that was ${name} takes no acknowledged record`, async (t) => {
      const disk = emptyDisk()
      const { journal } = await openOn(disk)
      await journal.append(draft(1))
      spoil(disk)
      const error = await failureOf(journal.append(draft(2)))
      t.strictSame([error.code, error.facts], ['JOURNAL_UNAVAILABLE', { reason: `audit.jsonl was ${name}` }])
    })

    t.test(`a file that was ${name} is noticed while nothing is written`, async (t) => {
      const disk = emptyDisk()
      const { journal, clock } = await openOn(disk)
      await journal.append(draft(1))
      const failed: string[] = []
      journal.onFailed((error) => failed.push(error.message))
      await clock.pass(4_000)
      t.strictSame(failed, [], 'nothing is wrong yet')
      spoil(disk)
      await clock.pass(4_000)
      t.match(failed, [new RegExp(name)])
      t.equal(clock.waiting, 0, 'no timer is left')
    })
  }

  t.test('a record above 64 KiB is refused alone, at the exact size', async (t) => {
    const disk = emptyDisk()
    const { journal } = await openOn(disk)
    const sizes = [60_000, 65_536, 1_000_000].map((size) => codeOf(journal.append(draft(1, size))))
    t.strictSame(await Promise.all(sizes), ['ok', 'RECORD_TOO_LARGE', 'RECORD_TOO_LARGE'])
    const fill = 65_536 - disk.contents(ACTIVE).length + 60_000
    t.equal(await codeOf(journal.append(draft(1, fill))), 'RECORD_TOO_LARGE', 'its number might get longer')
    t.equal(await codeOf(journal.append(draft(1, fill - 40))), 'ok')
    t.ok(linesOf(disk.contents(ACTIVE)).every((line) => line.length <= 65_536))
  })

  t.test('a full queue refuses, and takes again when it was written', async (t) => {
    const { journal } = await openOn(emptyDisk(), { queueMax: 3 })
    const codes = await Promise.all([1, 2, 3, 4, 5].map((n) => codeOf(journal.append(draft(n)))))
    t.strictSame(codes, ['ok', 'ok', 'ok', 'JOURNAL_BUSY', 'JOURNAL_BUSY'])
    t.equal(await codeOf(journal.append(draft(6))), 'ok')
    t.equal(await codeOf(journal.appendAll([1, 2, 3, 4].map((n) => draft(n)))), 'JOURNAL_BUSY')
    t.equal(journal.head.seq, 4)
  })

  t.test('nothing is taken after close, and what waited was written', async (t) => {
    const disk = emptyDisk()
    const { journal, clock } = await openOn(disk)
    const waiting = [1, 2, 3].map((n) => codeOf(journal.append(draft(n))))
    const closing = [journal.close(), journal.close()]
    waiting.push(codeOf(journal.append(draft(4))))
    await Promise.all(closing)
    t.strictSame(await Promise.all(waiting), ['ok', 'ok', 'ok', 'JOURNAL_UNAVAILABLE'])
    t.equal(clock.waiting, 0, 'no timer is left')
    t.strictSame((await openOn(disk)).facts.map(numberOf), [1, 2, 3])
  })
})

t.test('a line is what the contract says, byte for byte', async (t) => {
  const disk = emptyDisk()
  const { journal } = await openOn(disk)
  await journal.append(draft(1))
  const actor = { kind: 'token', name: 'aeon' } as const
  const nasty = { goal: 'a\u2028b\ud800c"\\\n\u0000é😀', mid: 'inner', h: 'inner' }
  const fact = await journal.append({ type: 'mission.created', mid: 'm-1', ep: 2, actor, d: nasty })
  const [first = '', second = ''] = disk.contents(ACTIVE).toString().split('\n')
  const start =
    '{"v":1,"seq":2,"b":2,"ts":"2026-11-22T10:00:00.000Z","type":"mission.created","mid":"m-1","ep":2,' +
    '"actor":{"kind":"token","name":"aeon"},"d":{"goal":"a\u2028b\\ud800c\\"\\\\\\n\\u0000é😀","mid":"inner","h":"inner"}'
  const sha = (previous: string, line: string): string =>
    createHash('sha256')
      .update(previous + line.slice(0, line.lastIndexOf(',"h":"')))
      .digest('hex')
  t.strictSame(
    { second, first: first.slice(-66, -2), isWhatListenersSee: JSON.parse(second) },
    {
      second: `${start},"h":"${sha(sha(ZEROS, first), second)}"}`,
      first: sha(ZEROS, first),
      isWhatListenersSee: fact,
    },
  )
})

t.test('a line whose hash is right is refused all the same when it is no record', async (t) => {
  const previous = { seq: 6, b: 5, h: 'a'.repeat(64) }
  const good =
    '{"v":1,"seq":7,"b":5,"ts":"2026-11-22T10:00:00.000Z","type":"x","actor":{"kind":"key","name":"k"},"d":{}'
  const verdictOf = (content: string, encoding: BufferEncoding = 'utf8'): string => {
    const bytes = Buffer.from(content, encoding)
    const h = createHash('sha256').update(previous.h).update(bytes).digest('hex')
    const verdict = checkLine(Buffer.concat([bytes, Buffer.from(`,"h":"${h}"}\n`)]), previous)
    return verdict.ok ? 'ok' : verdict.reason
  }
  t.strictSame(verdictOf(good), 'ok')
  t.strictSame(verdictOf(good.replace('"b":5', '"b":7')), 'ok')
  t.match(verdictOf(good.replace('"b":5', '"b":6')), /batch 6 follows 5/)
  t.match(verdictOf(good.replace('"b":5', '"b":4')), /batch 4 follows 5/)
  t.match(verdictOf(good.replace('"seq":7', '"seq":8')), /8 follows 6/)
  const notARecord = /not a record/
  t.match(verdictOf(good.replace('"seq":7', '"seq":"7"')), notARecord)
  t.match(verdictOf(`${good},"more":1`), notARecord)
  t.match(verdictOf(good.replace(',"type":"x"', '')), notARecord)
  t.match(verdictOf(good.replace('"v":1,', '"v":1, ')), notARecord)
  t.match(verdictOf(`${good.slice(0, 24)}"h":"x",${good.slice(24)}`), notARecord)
  t.match(verdictOf(good.replace('{}', '{')), notARecord)
  t.match(verdictOf(good.replace('"k"', '"\xff"'), 'latin1'), notARecord)
  t.match(verdictOf(good.replace('{}', `{"fill":"${'x'.repeat(65_536)}"}`)), /more than 65536/)
})

t.test('group commit', async (t) => {
  t.test('what arrives during one sync shares the next', async (t) => {
    const disk = emptyDisk()
    const { journal, facts } = await openOn(disk)
    const syncs = (): number => disk.calls.filter((call) => call === `datasync ${ACTIVE}`).length
    const writer = async (n: number): Promise<void> => {
      for (let turn = 0; turn < 10; turn += 1) await journal.append(draft(n * 100 + turn))
    }
    await Promise.all(Array.from({ length: 50 }, (_, n) => writer(n)))
    t.equal(facts.length, 500)
    t.ok(syncs() >= 10 && syncs() <= 12, `500 records of 50 writers took ${syncs()} syncs`)
    t.equal(new Set(facts.map((fact) => fact.b)).size, syncs(), 'b names each of them')
  })

  t.test('records are numbered in the order in which they were handed in', async (t) => {
    const { journal, facts } = await openOn(emptyDisk())
    const acked: number[] = []
    const appends = Array.from({ length: 300 }, (_, n) =>
      journal.append(draft(n, n % 7 === 0 ? 20_000 : 0)).then((fact) => acked.push(fact.seq)),
    )
    await Promise.all(appends)
    const inOrder = Array.from({ length: 300 }, (_, n) => n)
    t.strictSame(
      { numbers: facts.map(numberOf), seqs: facts.map((fact) => fact.seq), acked },
      { numbers: inOrder, seqs: inOrder.map((n) => n + 1), acked: inOrder.map((n) => n + 1) },
    )
  })

  t.test('a batch stays near a mebibyte, a group is never split', async (t) => {
    const sizes: number[] = []
    const { journal } = await openOn(emptyDisk(), { onBatch: ({ sizeBytes }) => sizes.push(sizeBytes) })
    const singles = Array.from({ length: 60 }, (_, n) => journal.append(draft(n, 50_000)))
    const group = journal.appendAll(Array.from({ length: 40 }, (_, n) => draft(n, 50_000)))
    const facts = await group
    await Promise.all(singles)
    t.equal(new Set(facts.map((fact) => fact.b)).size, 1)
    t.equal(sizes.length, 4)
    t.ok(sizes.slice(0, 3).every((size) => size <= 1_048_576))
  })

  t.test(
    'listeners see a batch after its sync and before its acknowledgement, and nothing else',
    async (t) => {
      const disk = emptyDisk()
      const { journal } = await openOn(disk)
      const order: string[] = []
      journal.subscribe((facts) =>
        order.push(`seen ${facts.map((fact) => fact.seq)}`, `at ${journal.position.seq}`),
      )
      const end = journal.subscribe(() => order.push('other'))
      disk.fault = ({ op, path }) => {
        if (path === ACTIVE && op === 'datasync') order.push('sync')
        return undefined
      }
      await Promise.all(
        [1, 2].map((n) => journal.append(draft(n)).then((fact) => order.push(`ack ${fact.seq}`))),
      )
      end()
      await journal.append(draft(3)).then((fact) => order.push(`ack ${fact.seq}`))
      t.strictSame(order, [
        'sync',
        'seen 1,2',
        'at 2',
        'other',
        'ack 1',
        'ack 2',
        'sync',
        'seen 3',
        'at 3',
        'ack 3',
      ])
    },
  )

  t.test(
    'a listener that throws is reported, and costs neither the acknowledgement nor the other listeners',
    async (t) => {
      const bugs: unknown[] = []
      const seen: Fact[] = []
      const { journal } = await openOn(emptyDisk(), { onBug: (error) => bugs.push(error) })
      const bug = new Error('bug')
      journal.subscribe(() => {
        throw bug
      })
      journal.subscribe((facts) => seen.push(...facts))
      t.equal(await codeOf(journal.append(draft(1))), 'ok')
      t.strictSame([bugs, seen.length], [[bug], 1])
    },
  )

  t.test('how long the oldest record waits can be asked', async (t) => {
    const disk = emptyDisk()
    const { journal, clock } = await openOn(disk)
    t.equal(journal.waitingMs, 0)
    disk.fault = strike('datasync', 1, { crash: 'before' })
    void journal.append(draft(1)) // Never answers: the disk hangs.
    await clock.pass(700)
    void journal.append(draft(2)) // Waits behind it.
    await clock.pass(300)
    t.equal(journal.waitingMs, 1_000)
  })
})

t.test('segments', async (t) => {
  t.test('a full segment is sealed under its first seq, the next one says what came before', async (t) => {
    const disk = emptyDisk()
    const { journal, facts } = await openOn(disk, { segmentBytesMax: 700 })
    for (let n = 0; n < 9; n += 1) await journal.append(draft(n))
    await journal.close()
    const files = disk.paths().filter((path) => path.includes('audit'))
    t.strictSame(
      files.map((path) => path.slice(DIR.length + 1)),
      ['audit.jsonl', 'audit/000000000001.jsonl', 'audit/000000000005.jsonl', 'audit/000000000008.jsonl'],
    )
    const sealed = disk.contents(`${DIR}/audit/000000000005.jsonl`)
    const last = JSON.parse(linesOf(sealed).at(-1) ?? '')
    const opened = facts.find((fact) => fact.seq === 8)
    t.strictSame(
      { type: opened?.type, b: opened?.b, d: opened?.d },
      {
        type: 'journal.segment_opened',
        b: 8,
        d: { sealed: 'audit/000000000005.jsonl', bytes: sealed.length, last_seq: 7, last_h: last.h },
      },
    )
    const again = await openOn(disk, { segmentBytesMax: 700 })
    t.strictSame(again.facts, facts, 'a replay shows what the listeners saw')
  })

  t.test('without room for a new segment nothing is lost, and it goes on when there is room', async (t) => {
    for (const op of ['rename', 'create', 'write'] as const) {
      const disk = emptyDisk()
      const { journal } = await openOn(disk, { segmentBytesMax: 300 })
      for (let n = 0; n < 2; n += 1) await journal.append(draft(n))
      disk.fault = (call) => (call.op === op && call.path.includes('audit') ? { error: 'ENOSPC' } : undefined)
      const full = await codeOf(journal.append(draft(2)))
      disk.fault = undefined
      await journal.append(draft(3))
      await journal.append(draft(4))
      await journal.close()
      const { facts } = await openOn(disk)
      const numbers = facts.filter((fact) => fact.type === 'command.done').map(numberOf)
      t.strictSame(
        { op, full, numbers },
        op === 'rename'
          ? { op, full: 'ok', numbers: [0, 1, 2, 3, 4] }
          : { op, full: 'JOURNAL_FULL', numbers: [0, 1, 3, 4] },
      )
    }
  })

  t.test('any range can be read back, across segments and inside large ones', async (t) => {
    const disk = emptyDisk()
    const { journal, facts } = await openOn(disk, { segmentBytesMax: 400_000 })
    for (let n = 0; n < 40; n += 1) {
      await journal.appendAll(Array.from({ length: 25 }, (_, i) => draft(n * 25 + i, (n * i * 37) % 3_000)))
    }
    const readAll = async (afterSeq: number, limit: number): Promise<Fact[]> => {
      const all: Fact[] = []
      for (let after = afterSeq; all.length < limit; after = all.at(-1)?.seq ?? after) {
        const some = await journal.read(after, limit - all.length)
        if (some.length === 0) break
        all.push(...some)
      }
      return all
    }
    const { seq } = journal.head
    t.ok(disk.paths().length > 3, 'there are several segments')
    for (let after = 0; after <= seq; after += 1) {
      const [next] = await journal.read(after, 1)
      if (next?.h !== facts[after]?.h) t.fail(`the record after ${after}`)
    }
    t.strictSame(await readAll(0, 5_000), facts)
    t.strictSame(await readAll(seq - 3, 100), facts.slice(-3))
    t.strictSame(await readAll(seq + 5, 100), [])
  })

  t.test('a reader never sees what is not durable yet', async (t) => {
    const disk = emptyDisk()
    const { journal } = await openOn(disk)
    await journal.append(draft(1))
    let during: Promise<Fact[]> | undefined
    disk.fault = ({ op, path }) => {
      if (op === 'datasync' && path === ACTIVE) during = journal.read(0, 10)
      return undefined
    }
    await journal.append(draft(2))
    t.strictSame((await during)?.map(numberOf), [1])
  })

  t.test('a record that rots while the daemon runs is reported by the reader', async (t) => {
    const disk = await journalOf([2, 2])
    const { journal } = await openOn(disk)
    const contents = disk.contents(ACTIVE)
    contents.write('X', (linesOf(contents)[0] ?? '').length + 60)
    const file = await disk.open(ACTIVE, 'overwrite')
    await file.write(contents, 0)
    const { code, facts } = await failureOf(journal.read(0, 10))
    t.strictSame([code, facts['seq'], facts['line']], ['JOURNAL_DAMAGED', 2, 2])
  })
})
