"""A declaration of flights that learns nothing from outcomes: weather, distance, aircraft, calendar, carrier, origin and destination."""

DESTINATIONS = """
    ABQ ACK ALB ANC ATL AUS AVL BDL BGR BHM BNA BOS BQN BTV BUF BUR BWI BZN CAE CAK CHO CHS CLE CLT CMH CRW CVG DAY DCA DEN DFW DSM DTW
    EGE EYW FLL GRR GSO GSP HDN HNL HOU IAD IAH ILM IND JAC JAX LAS LAX LEX LGA LGB MCI MCO MDW MEM MHT MIA MKE MSN MSP MSY MTJ MVY MYR
    OAK OKC OMA ORD ORF PBI PDX PHL PHX PIT PSE PSP PVD PWM RDU RIC ROC RSW SAN SAT SAV SBN SDF SEA SFO SJC SJU SLC SMF SNA SRQ STL STT
    SYR TPA TUL TVC TYS XNA
"""

PLAIN = {
    "joins": {
        "weather": {"key": {"origin": "origin", "hour_start": "date_trunc('hour', scheduled_departure)"}},
        "planes": {"key": {"tailnum": "tailnum"}},
    },
    "numeric": {
        "distance": {"missing": -1},
        "temperature": {"expression": "weather_temp", "missing": 55},
        "dew_point": {"expression": "weather_dewp", "missing": 40},
        "humidity": {"expression": "weather_humid", "missing": 60},
        "pressure": {"expression": "weather_pressure", "missing": 1018},
        "wind_direction": {"expression": "weather_wind_dir", "missing": -1},
        "wind_speed": {"expression": "weather_wind_speed", "missing": 10},
        "wind_gust": {"expression": "weather_wind_gust", "missing": 0},
        "precipitation": {"expression": "weather_precip", "missing": 0},
        "visibility": {"expression": "weather_visib", "missing": 10},
        "aircraft_age": {"expression": "year(scheduled_departure) - planes_built", "missing": -1},
        "seats": {"expression": "planes_seats", "missing": -1},
        "engines": {"expression": "planes_engines", "missing": -1},
        "scheduled_arrival": {"expression": "sched_arr_time", "missing": -1},
        "flight_number": {"expression": "flight", "missing": -1},
    },
    "categorical": {
        "airline": {"expression": "carrier"},
        "airport": {"expression": "origin"},
        "destination": {"expression": "dest", "values": DESTINATIONS.split()},
    },
    "calendar": ["hour", "minute_of_day", "weekday", "month"],
}
"""A declaration that learns nothing from outcomes: 22 features."""
