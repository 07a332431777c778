import t from 'tap'
import { Figures } from '../../daemon/host/figures.ts'
import { BusyLoops, type LoopSubject, UNASKED_MS } from '../../daemon/telemetry/busy-loops.ts'
import { TestClock } from '../support/test-clock.ts'

const IDLE = { elu: 0.01, intervalMs: 10_000, workDone: 0 }

function subject(unaskedMs: number | undefined, more: Partial<LoopSubject> = {}): LoopSubject {
  return {
    pid: 7,
    owners: [{ moduleId: 'a/b', instance: 'a/b#1' }],
    elu: 1,
    restless: unaskedMs === undefined ? undefined : { sinceMs: 0, unaskedMs },
    connections: { open: 0, accepted: 0 },
    ...more,
  }
}

t.test('a busy loop begins once and ends once', async (t) => {
  const clock = new TestClock()
  const loops = new BusyLoops(clock)
  const look = async (...subjects: LoopSubject[]) => {
    await clock.pass(10_000)
    const { began, ended } = loops.look(subjects, IDLE)
    return [began.length, ended.length, loops.episodes.length]
  }
  t.strictSame(await look(subject(UNASKED_MS - 1)), [0, 0, 0])
  t.strictSame(await look(subject(UNASKED_MS)), [1, 0, 1])
  t.match(loops.episodes, [
    { subject: { owners: [{ moduleId: 'a/b' }] }, sinceMs: Date.UTC(2026, 10, 22, 10), elu: 1 },
  ])
  t.strictSame(await look(subject(UNASKED_MS + 10_000)), [0, 0, 1])
  t.strictSame(await look(subject(undefined)), [0, 1, 0])
  t.strictSame(await look(subject(UNASKED_MS)), [1, 0, 1], 'and another time')
  t.strictSame(await look(), [0, 1, 0], 'the process is gone')
})

t.test('connections are work that is no call', async (t) => {
  const loops = new BusyLoops(new TestClock())
  const began = (unaskedMs: number, open: number, accepted: number) =>
    loops.look([subject(unaskedMs, { connections: { open, accepted } })], IDLE).began.length
  t.strictSame(
    [began(60_000, 1, 1), began(70_000, 0, 9), began(80_000, 0, 9), began(90_000, 0, 9)],
    [0, 0, 0, 1],
    'open ones, short ones; only what comes after them counts',
  )
})

t.test("the daemon's own loop is busy when it turns for half a minute and hardly does a thing", async (t) => {
  const clock = new TestClock()
  const look = (loops: BusyLoops, elu: number, workDone: number) =>
    loops.look([], { elu, intervalMs: 10_000, workDone }).began.length
  const idle = new BusyLoops(clock)
  t.strictSame([look(idle, 0.95, 999), look(idle, 0.9, 0), look(idle, 1, 0)], [0, 0, 1])
  t.match(idle.episodes, [{ subject: undefined, elu: 1 }])
  t.equal(idle.look([], { ...IDLE, elu: 0.89 }).ended.length, 1)
  const working = new BusyLoops(clock)
  t.strictSame(
    [1, 2, 3, 4].map(() => look(working, 1, 1_000)),
    [0, 0, 0, 0],
    'a hundred things a second',
  )
  const pausing = new BusyLoops(clock)
  t.strictSame(
    [1, 1, 0.5, 1, 1].map((elu) => look(pausing, elu, 0)),
    [0, 0, 0, 0, 0],
  )
})

t.test('only time in which nobody asked counts, of a stretch without a rest', async (t) => {
  const clock = new TestClock()
  const figures = new Figures(clock)
  let calls = 0
  const beat = async (elu: number, { called = 0, inFlight = 0, rests = false } = {}) => {
    await clock.pass(500)
    calls += called
    const said = { rss_bytes: 1, cpu_ms: 0, loop_lag_ms: 0, elu, ...(rests && { rests_ms: 10_000 }) }
    figures.take(said, { calls, inFlight })
    return figures.restless
  }
  await beat(1)
  t.strictSame(await beat(0.9), { sinceMs: 500, unaskedMs: 500 })
  t.strictSame(await beat(1, { inFlight: 1 }), { sinceMs: 500, unaskedMs: 500 }, 'a call is under way')
  t.strictSame(await beat(1, { called: 1 }), { sinceMs: 500, unaskedMs: 500 }, 'one came and went')
  t.strictSame(await beat(1), { sinceMs: 500, unaskedMs: 1_000 })
  t.strictSame(await beat(0.89), undefined)
  t.strictSame(await beat(1), { sinceMs: 3_000, unaskedMs: 500 }, 'it begins anew')
  t.strictSame(await beat(1, { rests: true }), undefined)
})
