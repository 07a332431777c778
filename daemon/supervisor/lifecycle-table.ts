import type { ModuleState } from '../contracts/status.ts'
import type { StateTable } from '../kit/state-table.ts'

/**
 * What happens to a module.
 *
 * `load` and `invalidate` speak of its manifest, `start` and `stop` of what is wanted. `blocked` and `unblocked` speak
 * of its `requires`: something is away for longer than a moment, and is back while its own instances are still up.
 * `up`, `notready`, `lost` (it may come up later) and `broken` (not until code or settings change) are the ends of
 * a start. `thinned` is the loss of one replica of several, `exited` of the last one. `due`, `spent` and `done` are
 * the answers of the restart policy. `fallback` starts the last known good generation instead of a newer one,
 * `renew` starts afresh because the code or the settings changed. `fit` says that another number of instances is
 * wanted, `emptied` that none is.
 */
export const MODULE_EVENTS = [
  'load',
  'invalidate',
  'start',
  'blocked',
  'unblocked',
  'up',
  'notready',
  'lost',
  'broken',
  'fallback',
  'thinned',
  'exited',
  'due',
  'spent',
  'done',
  'reload',
  'swapped',
  'reverted',
  'renew',
  'fit',
  'emptied',
  'stop',
  'halted',
] as const
export type ModuleEvent = (typeof MODULE_EVENTS)[number]

/**
 * What the unit does about it: `bring` up what is missing, `announce` that it serves, `judge` a loss, `swap`
 * generations, `fit` the number of instances to what is wanted, `empty` it of them, `halt` everything, `hold` calls
 * back until what it requires is there, `resume` taking them, `alarm` that it gave up for now, `giveUp` until something
 * changes, `wait`, `rest`.
 */
export type ModuleAct =
  | 'bring'
  | 'announce'
  | 'judge'
  | 'swap'
  | 'fit'
  | 'empty'
  | 'halt'
  | 'hold'
  | 'resume'
  | 'alarm'
  | 'giveUp'
  | 'wait'
  | 'rest'
  | 'reject'

/**
 * The life of one module. Read a row as "while …, on … go to … and …".
 *
 * `reloading` keeps the old generation serving until the next one has settled, so a reload that fails costs nothing.
 * `stop` is understood wherever code may run and always ends at rest; a retry is a timer, so it can be stopped too.
 * `locked` is never entered: what omens lock goes on as it is, and is only shown so (`omened.ts`).
 */
// biome-ignore format: a table
export const LIFECYCLE = {
  discovered: { load:       { to: 'loaded',    act: 'rest' },     invalidate: { to: 'invalid',   act: 'reject' } },
  invalid:    { load:       { to: 'loaded',    act: 'rest' },     invalidate: { to: 'invalid',   act: 'reject' },
                stop:       { to: 'invalid',   act: 'rest' } },
  loaded:     { start:      { to: 'starting',  act: 'bring' },    blocked:    { to: 'waiting',   act: 'hold' },
                load:       { to: 'loaded',    act: 'rest' },     invalidate: { to: 'invalid',   act: 'reject' },
                stop:       { to: 'stopped',   act: 'rest' } },
  waiting:    { start:      { to: 'starting',  act: 'bring' },    blocked:    { to: 'waiting',   act: 'hold' },
                unblocked:  { to: 'started',   act: 'resume' },   due:        { to: 'starting',  act: 'bring' },
                up:         { to: 'started',   act: 'announce' }, exited:     { to: 'backoff',   act: 'judge' },
                thinned:    { to: 'waiting',   act: 'judge' },    lost:       { to: 'backoff',   act: 'judge' },
                broken:     { to: 'failed',    act: 'giveUp' },   renew:      { to: 'starting',  act: 'bring' },
                fit:        { to: 'waiting',   act: 'fit' },      emptied:    { to: 'waiting',   act: 'empty' },
                invalidate: { to: 'invalid',   act: 'reject' },   stop:       { to: 'stopping',  act: 'halt' } },
  starting:   { up:         { to: 'started',   act: 'announce' }, notready:   { to: 'waiting',   act: 'wait' },
                lost:       { to: 'backoff',   act: 'judge' },    exited:     { to: 'backoff',   act: 'judge' },
                broken:     { to: 'failed',    act: 'giveUp' },   fallback:   { to: 'starting',  act: 'bring' },
                blocked:    { to: 'waiting',   act: 'hold' },     renew:      { to: 'starting',  act: 'bring' },
                emptied:    { to: 'waiting',   act: 'empty' },    stop:       { to: 'stopping',  act: 'halt' } },
  started:    { thinned:    { to: 'started',   act: 'judge' },    exited:     { to: 'backoff',   act: 'judge' },
                due:        { to: 'started',   act: 'bring' },    lost:       { to: 'started',   act: 'judge' },
                spent:      { to: 'started',   act: 'alarm' },    notready:   { to: 'waiting',   act: 'wait' },
                up:         { to: 'started',   act: 'rest' },     reload:     { to: 'reloading', act: 'swap' },
                fit:        { to: 'started',   act: 'fit' },      emptied:    { to: 'waiting',   act: 'empty' },
                blocked:    { to: 'waiting',   act: 'hold' },     stop:       { to: 'stopping',  act: 'halt' } },
  reloading:  { swapped:    { to: 'started',   act: 'resume' },   reverted:   { to: 'started',   act: 'resume' },
                exited:     { to: 'backoff',   act: 'judge' },    stop:       { to: 'stopping',  act: 'halt' } },
  backoff:    { due:        { to: 'starting',  act: 'bring' },    spent:      { to: 'crashloop', act: 'alarm' },
                done:       { to: 'stopped',   act: 'rest' },     start:      { to: 'starting',  act: 'bring' },
                fallback:   { to: 'starting',  act: 'bring' },    broken:     { to: 'failed',    act: 'giveUp' },
                blocked:    { to: 'waiting',   act: 'hold' },     renew:      { to: 'starting',  act: 'bring' },
                invalidate: { to: 'invalid',   act: 'reject' },   stop:       { to: 'stopping',  act: 'halt' },
                emptied:    { to: 'waiting',   act: 'empty' } },
  crashloop:  { due:        { to: 'starting',  act: 'bring' },    start:      { to: 'starting',  act: 'bring' },
                renew:      { to: 'starting',  act: 'bring' },    invalidate: { to: 'invalid',   act: 'reject' },
                emptied:    { to: 'waiting',   act: 'empty' },    stop:       { to: 'stopping',  act: 'halt' } },
  stopping:   { halted:     { to: 'stopped',   act: 'rest' } },
  stopped:    { start:      { to: 'starting',  act: 'bring' },    blocked:    { to: 'waiting',   act: 'hold' },
                load:       { to: 'stopped',   act: 'rest' },     invalidate: { to: 'invalid',   act: 'reject' },
                stop:       { to: 'stopped',   act: 'rest' } },
  failed:     { start:      { to: 'starting',  act: 'bring' },    renew:      { to: 'starting',  act: 'bring' },
                invalidate: { to: 'invalid',   act: 'reject' },   stop:       { to: 'stopping',  act: 'halt' } },
  locked:     {},
} as const satisfies StateTable<ModuleState, ModuleEvent, ModuleAct>
