import t from 'tap'
import type { Fact, FactDraft } from '../../daemon/contracts/fact.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { KeyTurns } from '../../daemon/missions/key-turns.ts'
import { Ledger } from '../../daemon/missions/ledger.ts'
import type { Mission } from '../../daemon/missions/mission.ts'
import { Shelf } from '../../daemon/missions/shelf.ts'
import { viewOf } from '../../daemon/missions/view.ts'
import { dataPaths } from '../../daemon/storage/data-folder.ts'
import { Journal } from '../../daemon/storage/journal.ts'
import { RecordLog } from '../../daemon/storage/record-log.ts'
import { MemoryDisk } from '../support/memory-disk.ts'
import { settle, TestClock } from '../support/test-clock.ts'
import { conformance, type Engine, type Ground } from './conformance.ts'

const DIR = '/data'

/** The embedded engine: the ledger and the shelf, over the real journal, on a disk that loses what was not synced. */
class EmbeddedGround implements Ground {
  readonly #clock = new TestClock()
  #disk = MemoryDisk.withFolder(DIR)
  #engine: Engine | undefined

  get engine(): Engine {
    if (this.#engine === undefined) throw new Error('the engine is open')
    return this.#engine
  }

  get isDead(): boolean {
    return this.#disk.isHalted
  }

  jump(byMs: number): void {
    this.#clock.jump(byMs)
  }

  rest(): Promise<void> {
    return settle()
  }

  dieAfter(steps: number): void {
    const from = this.#disk.count
    this.#disk.fault = ({ isChange, n }) => (isChange && n > from + steps ? { crash: 'before' } : undefined)
  }

  async crash(): Promise<void> {
    this.#disk = this.#disk.afterCrash('nothing', seededChance(1))
    await this.open()
  }

  async open(): Promise<void> {
    const disk = this.#disk
    const records = await RecordLog.open({ disk, paths: dataPaths(DIR) }, { file: 1, offset: 0 })
    if (records === undefined) throw new Error('records can be opened from their beginning')
    const shelf = new Shelf({
      append: (line) => records.append(line),
      read: (places) => records.read(places),
      trouble: (error) => t.fail(String(error)),
    })
    const { journal } = await Journal.open({
      disk,
      clock: this.#clock,
      dataDir: DIR,
      segmentBytesMax: 20_000,
      onReplay: (fact) => shelf.fold(fact),
    })
    journal.subscribe((facts: readonly Fact[]) => {
      for (const fact of facts) shelf.fold(fact)
    })
    await shelf.settled()
    const ledger = new Ledger(journal, shelf, () => {})
    const keys = new KeyTurns()
    this.#engine = {
      // As admission does, which is the only caller.
      create: async (drafts) => {
        const places = drafts.map(placeOf).filter((place) => place !== undefined)
        const release = await keys.take(places.map((place) => place.join(' ')))
        try {
          const missions: Mission[] = []
          for (const draft of drafts) {
            const place = placeOf(draft)
            const known = place && (await shelf.byIdempotencyKey(...place))
            if (known !== undefined) missions.push(known)
          }
          if (missions.length > 0) return missions
          return await ledger.create(drafts)
        } finally {
          release()
        }
      },
      find: (id) => shelf.find(id),
      list: async (filter) => {
        const { missions, next } = await shelf.list(filter)
        return { missions: missions.map(viewOf), next }
      },
      byIdempotencyKey: async (principal, key) => shelf.byIdempotencyKey(principal, key),
      change: (id, wanted, decide) => ledger.change(id, wanted, decide),
      claim: (id, mayRun) => ledger.claim(id, mayRun),
      write: (id, epoch, decided) => ledger.write(id, epoch, decided),
      get staleRefused() {
        return ledger.staleRefused
      },
    }
  }
}

function placeOf({ d }: FactDraft): readonly [principal: string, key: string] | undefined {
  const idempotency = d['idempotency'] as { readonly principal: string; readonly key: string } | undefined
  return idempotency && [idempotency.principal, idempotency.key]
}

conformance(t, async () => {
  const ground = new EmbeddedGround()
  await ground.open()
  return ground
})
