/** What a shared host looks like to somebody who seeks a place. */
export interface HostView {
  /** Group, launch and limits: whoever has another key does not belong here. */
  readonly key: string
  /** False once it is to end, and for one that a troublemaker has to itself. */
  readonly isOpen: boolean
  /** Of those that live there. */
  readonly modules: ReadonlySet<string>
  /** Every generation that was imported there, by its folder; those that failed, too. */
  readonly seen: ReadonlySet<string>
  readonly seats: number
  readonly seatsMax: number
  /** Its share of the memory that it may use, 0..1, as far as it has said. */
  readonly fullness: number
}

export interface PlaceWish {
  readonly key: string
  readonly moduleId: string
  /** Folder of the generation. */
  readonly dir: string
  /** It has ended a host not long ago. */
  readonly isTroublemaker: boolean
}

/**
 * The host in which an instance is to live; none of them, when it needs a new one.
 *
 * - Two instances of one module never share a host: its replicas are to survive each other, and the code that serves is
 *   to survive the code that is tried.
 * - No host imports a generation twice: Node would hand out the first copy, with all that it remembers.
 * - Code cannot be unloaded, so a host in which much has come and gone takes nobody any more, and ends with its last.
 * - Whoever has ended a host lives alone for a while.
 *
 * Of several that would do, the fullest: then the others empty and end.
 */
export function choosePlace<Host extends HostView>(
  hosts: readonly Host[],
  wish: PlaceWish,
): Host | undefined {
  if (wish.isTroublemaker) return undefined
  return hosts
    .filter((host) => host.key === wish.key && host.isOpen && hasRoom(host))
    .filter(({ modules, seen }) => !modules.has(wish.moduleId) && !seen.has(wish.dir))
    .reduce<Host | undefined>(
      (best, host) => (best !== undefined && best.seats >= host.seats ? best : host),
      undefined,
    )
}

function hasRoom({ seats, seatsMax, seen, fullness }: HostView): boolean {
  return seats < seatsMax && seen.size - seats < RETIRED_MAX && fullness < FULLNESS_MAX
}

/** What a small module leaves behind is some hundred kilobytes: about ten megabytes together. */
const RETIRED_MAX = 100
/** The rest is for those who live there to grow. */
const FULLNESS_MAX = 0.5

/**
 * How long to wait before the next host of a key is opened, when others have ended and nobody knows by whose fault: not
 * at all after the first, then twice as long each time.
 *
 * @param deathsMs - Of such hosts, on the monotonic clock.
 */
export function openingWaitMs(deathsMs: readonly number[], nowMs: number): number {
  const recent = deathsMs.filter((atMs) => nowMs - atMs < DEATHS_WITHIN_MS)
  const newestMs = Math.max(...recent)
  if (recent.length < 2) return 0
  const waitMs = Math.min(WAIT_MS_MAX, WAIT_MS * 2 ** (recent.length - 2))
  return Math.max(0, newestMs + waitMs - nowMs)
}

/** Longer than the longest wait, so that a group that goes on dying is not forgiven in between. */
export const DEATHS_WITHIN_MS = 120_000
const WAIT_MS = 500
const WAIT_MS_MAX = 30_000
