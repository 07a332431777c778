import { Cron } from 'croner'

/** Five fields, so that nothing can be wanted more than once a minute; or a name for such fields. */
const FORM = /^(?:\S+(?: +\S+){4}|@(?:hourly|daily|midnight|weekly|monthly|yearly|annually))$/

/**
 * The next time a pattern names after `fromMs`; undefined when there is none.
 *
 * In the night in which clocks are put forward, a time that does not exist comes at the moment of the change; in the
 * night in which they are put back, a time of the clock that comes twice counts once.
 *
 * @throws Error with a plain sentence when the pattern or the time zone is none.
 */
export function nextTime(pattern: string, timezone: string, fromMs: number): number | undefined {
  if (!FORM.test(pattern)) throw new Error('it must have five fields: minute, hour, day, month, day of week')
  const cron = new Cron(pattern, { timezone, mode: '5-part', paused: true })
  return cron.nextRun(new Date(fromMs))?.getTime()
}

/** Whether this is the name of a time zone that is known here. */
export function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name })
    return true
  } catch {
    return false
  }
}

/** The time zone of this machine, by its name. */
export function ownTimezone(): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone
}
