/** The module's configuration, as `config` of `module.json` describes it. */
export interface Settings {
  readonly interval_ms: number
  /** Empty: the module's own folder, which lies in the daemon's data folder. */
  readonly disk_path: string
}
