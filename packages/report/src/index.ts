export { concerns, groupOf, metricGroups, type MetricGroup } from './metric-groups';
export type { CurvesData, Json, NoticeData, PageData, RunData, RunStatus, SamplesData, StageData } from './page-data';
export { readReport } from './read-report';
export { ReportKeeper, type ReportKeeperOptions } from './report-keeper';
export { serveReport, type ReportServer, type ServeReportOptions } from './serve-report';
export { reportFile, reportHtml, writeReport } from './write-report';
