from extras import ignored_without

collect_ignore_glob = ignored_without("fastapi", "av")
